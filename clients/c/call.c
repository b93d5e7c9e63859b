/* call: calls a peer through sigd, and prints what the two say.
 *
 *     call URL ID PEER < offer.sdp
 *
 * URL is tcp://HOST:PORT or udp://HOST:PORT. A credential comes from the environment, SIGD_USER and SIGD_TOKEN, where
 * the other users of the machine do not see it. What a WebRTC stack would provide is made up here: the candidates.
 */
#define SIGD_IMPLEMENTATION
#include "sigd_posix.h"

static const char *const candidates[] = {
    "candidate:1 1 udp 2122260223 192.0.2.7 49203 typ host",
    "candidate:2 1 udp 1686052607 198.51.100.7 49203 typ srflx raddr 192.0.2.7 rport 49203",
};

struct call {
    struct sigd client;
    struct sigd_posix link; /* sigd_posix_send() is passed this: it is the context */
    const char *peer, *session;
    char offer[60000];
    size_t said;  /* the offer, each candidate, the end of them, in this order */
    int answered, heard_last, over;
};

static struct call call;

static void heard(void *context, const struct sigd_received *received)
{
    (void)context;
    switch (received->type) {
    case SIGD_TYPE_REGISTERED:
        printf("registered %s\n", received->peer);
        break;
    case SIGD_TYPE_ANSWER:
        printf("answer from %s, %u bytes\n", received->peer, (unsigned)received->body_size);
        call.answered = 1;
        break;
    case SIGD_TYPE_CANDIDATE:
        printf("candidate from %s: %s\n", received->peer, received->body);
        call.heard_last |= strcmp(received->body, "null") == 0;
        break;
    case SIGD_TYPE_BYE:
        printf("bye from %s: %s\n", received->peer, received->body ? received->body : "");
        call.over = 1;
        break;
    case SIGD_TYPE_ERROR:
        printf("error %s: %s\n", received->code_text ? received->code_text : "", received->body ? received->body : "");
        if (received->code == SIGD_CODE_PEER_UNAVAILABLE)
            call.over = 1;
        break;
    case SIGD_TYPE_UNSENT: /* of what was on its way the peer may know nothing: begin again */
        call.said = 0;
        break;
    default:
        break;
    }
    fflush(stdout);
}

/* Says what comes next, as soon as there is room for it. */
static void say_next(void)
{
    struct sigd *s = &call.client;
    size_t count = sizeof candidates / sizeof *candidates;
    int32_t ref = 0;
    if (call.said == 0)
        ref = sigd_offer(s, call.peer, call.session, call.offer);
    else if (call.said <= count)
        ref = sigd_candidate(s, call.peer, call.session, candidates[call.said - 1], "0");
    else if (call.said == count + 1)
        ref = sigd_end_of_candidates(s, call.peer, call.session);
    else if (call.said == count + 2 && call.answered && call.heard_last)
        ref = sigd_bye(s, call.peer, call.session, "hung up");
    call.said += ref > 0;
    if (ref < 0) {
        fprintf(stderr, "call: the offer is too long, or a name is none\n");
        exit(1);
    }
    call.over |= call.said == count + 3 && sigd_is_ready(s);
}

int main(int argc, char **argv)
{
    static char buffer[4096];
    struct sigd_config config = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: call URL ID PEER < offer.sdp\n");
        return 2;
    }
    call.offer[fread(call.offer, 1, sizeof call.offer - 1, stdin)] = 0;
    call.peer = argv[3];
    call.session = "call-1";
    config.id = argv[2];
    config.user = getenv("SIGD_USER");
    config.token = getenv("SIGD_TOKEN");
    config.buffer = buffer;
    config.buffer_size = sizeof buffer;
    config.heard = heard;
    if (!sigd_posix_init(&call.link, &call.client, &config, argv[1])) {
        fprintf(stderr, "call: %s is neither tcp://HOST:PORT nor udp://HOST:PORT\n", argv[1]);
        return 2;
    }
    sigd_start(&call.client, sigd_posix_now());
    while (sigd_posix_step(&call.link, 1000)) {
        if (sigd_is_ready(&call.client) && !call.over)
            say_next();
        if (call.over && sigd_is_ready(&call.client))
            sigd_unregister(&call.client, sigd_posix_now());
    }
    printf("ended: %s\n", call.client.why);
    return call.answered && call.heard_last ? 0 : 1;
}
