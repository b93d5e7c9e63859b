/* answer: answers whoever calls through sigd, one call at a time, and prints what it hears.
 *
 *     answer URL ID < answer.sdp
 *
 * As with call: URL is tcp://HOST:PORT or udp://HOST:PORT, and a credential comes from SIGD_USER and SIGD_TOKEN.
 */
#define SIGD_IMPLEMENTATION
#include "sigd_posix.h"

struct call {
    char peer[SIGD_MAX_NAME + 1], session[SIGD_MAX_NAME + 1];
    int next; /* 0: nobody calls; 1: the answer is to be said, 2: a candidate, 3: the end of them; 4: all was said */
};

static struct sigd client;
static struct sigd_posix link_;
static struct call call;
static char answer[60000];

static void heard(void *context, const struct sigd_received *received)
{
    (void)context;
    switch (received->type) {
    case SIGD_TYPE_REGISTERED:
        printf("registered %s\n", received->peer);
        break;
    case SIGD_TYPE_OFFER: /* what `received` points to is gone when this returns: keep what is needed */
        printf("offer from %s, %u bytes\n", received->peer, (unsigned)received->body_size);
        strcpy(call.peer, received->peer);
        strcpy(call.session, received->session ? received->session : "");
        call.next = 1;
        break;
    case SIGD_TYPE_CANDIDATE: {
        struct sigd_text line = sigd_find(received->body, received->body_size, "candidate");
        printf("candidate from %s: %s\n", received->peer, line.at ? sigd_unescape(&line) : received->body);
        break;
    }
    case SIGD_TYPE_BYE:
        printf("bye from %s: %s\n", received->peer, received->body ? received->body : "");
        call.next = 0;
        break;
    case SIGD_TYPE_ERROR:
        printf("error %s: %s\n", received->code_text ? received->code_text : "", received->body ? received->body : "");
        break;
    default:
        break;
    }
    fflush(stdout);
}

static void say_next(void)
{
    const char *session = *call.session ? call.session : NULL;
    int32_t ref = 0;
    if (call.next == 1)
        ref = sigd_answer(&client, call.peer, session, answer);
    else if (call.next == 2)
        ref = sigd_candidate(&client, call.peer, session, "candidate:1 1 udp 2122260223 192.0.2.8 50000 typ host", "0");
    else if (call.next == 3)
        ref = sigd_end_of_candidates(&client, call.peer, session);
    call.next += ref > 0;
}

int main(int argc, char **argv)
{
    static char buffer[4096];
    struct sigd_config config = {0};
    if (argc != 3) {
        fprintf(stderr, "usage: answer URL ID < answer.sdp\n");
        return 2;
    }
    answer[fread(answer, 1, sizeof answer - 1, stdin)] = 0;
    config.id = argv[2];
    config.user = getenv("SIGD_USER");
    config.token = getenv("SIGD_TOKEN");
    config.buffer = buffer;
    config.buffer_size = sizeof buffer;
    config.heard = heard;
    if (!sigd_posix_init(&link_, &client, &config, argv[1])) {
        fprintf(stderr, "answer: %s is neither tcp://HOST:PORT nor udp://HOST:PORT\n", argv[1]);
        return 2;
    }
    sigd_start(&client, sigd_posix_now());
    while (sigd_posix_step(&link_, 1000))
        if (sigd_is_ready(&client))
            say_next();
    printf("ended: %s\n", client.why);
    return 1;
}
