/* datagrams: load.c's ping-pong over sigd's UDP, from as many addresses as there are peers, if need be.
 *
 *     datagrams HOST PORT [--pairs N] [--idle M] [--window W] [--seconds S] [--warmup S] [--settle S] [--opening N]
 *               [--addresses A] [--keepalive MS] [--secret TEXT] [--lists L] [--pid PID]
 *
 * Registers 2N + M peers, lets N pairs play, and prints one line of JSON with the same members as load.c's. One socket
 * is everybody: links have names of their own on the wire (cid), and with --addresses the source is chosen for each
 * datagram (IP_PKTINFO), from 127.1.0.0 on. With --secret every datagram is authenticated. With --lists so many
 * `peers` requests, each from another place in the list, are timed once all are there.
 *
 * Every message is one datagram, and its acknowledgement rides on the next one: what does not come within a moment is
 * sent again, so that a lost datagram delays a pair, but loses nothing.
 *
 * Reading order: datagrams, peers, phases, main.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "bodies.h"
#include "meter.h"

enum {
    DATAGRAM = 1200,
    CID = 16,
    MAC = 32,
    KEY = 32,
    MAX_WINDOW = 8,             /* the daemon's own */
    BUFFER = 8 * 1024 * 1024,
    AGAIN_MS = 300,             /* above the daemon's shortest time for the same */
    OPENING_AGAIN_MS = 500,
    FIRST_PEERS = 64,           /* what a server allocates once is not charged to the peers after these */
    BATCH = 64,
    USER_UNTIL = 2000000000,    /* seconds: the expiry of every token here */
};

/* ---- datagrams ---- */

struct datagram {
    size_t len;
    char at[DATAGRAM + 1];
};

struct peer {
    char cid[CID + 1];          /* empty: not registered yet */
    unsigned char key[KEY];
    uint32_t seq, mid, ack;     /* of our last datagram and message, and theirs up to which all came */
    uint64_t said_at;           /* when `last` went out */
    struct datagram *last;      /* while it registers, and of those who play */
};

static struct {
    struct sockaddr_in server;
    size_t pairs, idle, window, opening, addresses, lists;
    unsigned keepalive_ms;
    double seconds, warmup, settle;
    const char *secret;
    struct body body;
} opt = {.window = 1, .opening = 64, .warmup = 0.5};

static int sock;
static struct peer *peers;
static size_t count, registered, begun;
static uint64_t received, in_flight, lists_heard;
static bool answering, measuring;

static void hmac(const void *key, size_t key_len, const char *direction, const void *text, size_t n, unsigned char out[KEY])
{
    unsigned char joined[2 * DATAGRAM];
    size_t head = strlen(direction);
    memcpy(joined, direction, head);
    memcpy(joined + head, text, n);
    if (!HMAC(EVP_sha256(), key, (int)key_len, joined, head + n, out, NULL))
        die("no HMAC");
}

static void hex(const unsigned char *bytes, size_t n, char *out)
{
    static const char LETTERS[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = LETTERS[bytes[i] >> 4];
        out[2 * i + 1] = LETTERS[bytes[i] & 15];
    }
    out[2 * n] = '\0';
}

static void seal(struct datagram *d, const void *key, size_t key_len, const char *direction)
{
    unsigned char digest[KEY];
    hmac(key, key_len, direction, d->at, d->len, digest);
    d->at[d->len] = ' ';
    hex(digest, MAC / 2, d->at + d->len + 1);
    d->len += 1 + MAC;
}

__attribute__((format(printf, 2, 3))) static void write_datagram(struct datagram *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(d->at, sizeof d->at, format, args);
    va_end(args);
    if (n < 0 || n + 1 + MAC > DATAGRAM)
        die("a datagram too long");
    d->len = (size_t)n;
}

/* Peers share the addresses in turn. */
static struct in_addr address_of(size_t i)
{
    return (struct in_addr){htonl(0x7F010000u + (uint32_t)(i % opt.addresses))};
}

static void send_as(size_t i, const struct datagram *d)
{
    struct iovec part = {(void *)(uintptr_t)d->at, d->len};
    union { char room[CMSG_SPACE(sizeof(struct in_pktinfo))]; struct cmsghdr align; } control;
    struct msghdr message = {.msg_name = &opt.server, .msg_namelen = sizeof opt.server, .msg_iov = &part, .msg_iovlen = 1};
    if (opt.addresses) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.room;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = IPPROTO_IP;
        c->cmsg_type = IP_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
        struct in_pktinfo info = {.ipi_spec_dst = address_of(i)};
        memcpy(CMSG_DATA(c), &info, sizeof info);
    }
    if (sendmsg(sock, &message, 0) < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED)
        die("send: %s", strerror(errno));
    peers[i].said_at = now_ns();
}

/* ---- peers ---- */

static uint32_t *places;    /* cid -> 1 + index, open addressing */
static size_t places_mask;

static size_t place_of(const char *cid)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < CID; i++)
        hash = (hash ^ (unsigned char)cid[i]) * 1099511628211u;
    size_t at = (size_t)(hash ^ hash >> 32) & places_mask;
    while (places[at] && memcmp(peers[places[at] - 1].cid, cid, CID))
        at = (at + 1) & places_mask;
    return at;
}

static void name_of(size_t i, char out[32])
{
    if (i < 2 * opt.pairs)
        snprintf(out, 32, "%c%zu", i % 2 ? 'b' : 'a', i / 2);
    else
        snprintf(out, 32, "idle%zu", i);
}

static void register_peer(size_t i, const char *cookie, size_t cookie_len)
{
    struct peer *p = &peers[i];
    if (!p->last && !(p->last = calloc(1, sizeof *p->last)))
        die("out of memory");
    char name[32], user[64], who[96] = "";
    name_of(i, name);
    snprintf(user, sizeof user, "%u:*", (unsigned)USER_UNTIL);
    if (opt.secret)
        snprintf(who, sizeof who, "\"user\":\"%s\",", user);
    if (!cookie_len) {
        write_datagram(p->last, "{\"type\":\"register\",\"id\":\"%s\",\"nonce\":\"nonce%011zu\",\"pad\":\"%0110d\"}", name, i, 0);
    } else {
        write_datagram(p->last, "{\"type\":\"register\",\"id\":\"%s\",\"nonce\":\"nonce%011zu\",%s\"keepaliveMs\":%u,\"maxFrame\":1100,\"cookie\":\"%.*s\"}",
                       name, i, who, opt.keepalive_ms ? opt.keepalive_ms : 30000, (int)cookie_len, cookie);
        if (opt.secret) {
            unsigned char digest[KEY], token[64];
            hmac(opt.secret, strlen(opt.secret), "", user, strlen(user), digest);
            int n = EVP_EncodeBlock(token, digest, KEY);
            seal(p->last, token, (size_t)n, "R");
        }
    }
    send_as(i, p->last);
}

static void take_link_key(struct peer *p)
{
    char user[64], text[2 * DATAGRAM];
    unsigned char digest[KEY], token[64];
    snprintf(user, sizeof user, "%u:*", (unsigned)USER_UNTIL);
    hmac(opt.secret, strlen(opt.secret), "", user, strlen(user), digest);
    int n = EVP_EncodeBlock(token, digest, KEY);
    int length = snprintf(text, sizeof text, "sigd link 1\n%s\n%.*s", p->cid, MAC, p->last->at + p->last->len - MAC);
    hmac(token, (size_t)n, "", text, (size_t)length, p->key);
}

static const char *member(const char *json, const char *name, size_t *len)
{
    const char *at = strstr(json, name);
    if (!at)
        return NULL;
    at += strlen(name);
    *len = strcspn(at, "\"");
    return at;
}

/* What is said before there is a link. */
static void take_greeting(const char *json)
{
    size_t len = 0;
    const char *nonce = member(json, "\"nonce\":\"nonce", &len);
    if (!nonce)
        return;
    size_t i = strtoul(nonce, NULL, 10);
    if (i >= count || *peers[i].cid)
        return;
    const char *cookie = member(json, "\"cookie\":\"", &len);
    if (cookie) {
        register_peer(i, cookie, len);
        return;
    }
    const char *cid = member(json, "\"cid\":\"", &len);
    if (!cid || len != CID)
        die("not registered: %s", json);
    struct peer *p = &peers[i];
    size_t at = place_of(cid);
    memcpy(p->cid, cid, CID);
    places[at] = (uint32_t)i + 1;
    if (opt.secret)
        take_link_key(p);
    registered++;
    if (i >= 2 * opt.pairs) {
        free(p->last);
        p->last = NULL;
    }
}

static void say(size_t i, const char *json, size_t n)
{
    struct peer *p = &peers[i];
    write_datagram(p->last, "D %s %u %u %u 0/1 %.*s", p->cid, p->seq + 1, p->ack, p->mid + 1, (int)n, json);
    p->seq++;
    p->mid++;
    if (opt.secret)
        seal(p->last, p->key, KEY, "C");
    send_as(i, p->last);
}

static struct text *frames;    /* of those who play: what each says to its other */

static void say_message(size_t i)
{
    in_flight++;
    say(i, frames[i].at, frames[i].len);
}

static void acknowledge(size_t i)
{
    struct peer *p = &peers[i];
    struct datagram d;
    write_datagram(&d, "A %s %u 0", p->cid, p->ack);
    if (opt.secret)
        seal(&d, p->key, KEY, "C");
    uint64_t said_at = p->said_at;
    send_as(i, &d);
    p->said_at = said_at;
}

/* What it costs to believe a datagram is paid by this side too: the daemon's macs are checked. */
static bool verifies(const struct peer *p, const char *at, size_t n)
{
    if (!opt.secret)
        return true;
    unsigned char digest[KEY];
    char letters[2 * KEY + 1];
    hmac(p->key, KEY, "S", at, n - 1 - MAC, digest);
    hex(digest, MAC / 2, letters);
    return !memcmp(letters, at + n - MAC, MAC);
}

static void take_data(size_t i, const char *at, uint64_t now)
{
    struct peer *p = &peers[i];
    unsigned seq = 0, ack = 0;
    if (sscanf(at + 2 + CID, " %u %u", &seq, &ack) != 2)
        die("not a datagram: %s", at);
    if (seq != p->ack + 1) {
        acknowledge(i);    /* seen before, or one is missing: it comes again */
        return;
    }
    p->ack = seq;
    if (strstr(at, "\"type\":\"peers\"")) {
        lists_heard++;
        return;
    }
    if (!strstr(at, opt.body.probe))
        die("not a message: %s", at);
    in_flight--;
    if (measuring)
        record_latency(now - peers[i ^ 1].said_at);
    received++;
    if (answering)
        say_message(i);
    else
        acknowledge(i);
}

static void take(char *at, size_t n, uint64_t now)
{
    at[n] = '\0';
    if (*at == '{') {
        take_greeting(at);
        return;
    }
    if (n < 2 + CID)
        return;
    uint32_t place = places[place_of(at + 2)];
    if (!place)
        return;
    size_t i = place - 1;
    if (!verifies(&peers[i], at, n))
        die("a wrong mac: %s", at);
    if (*at == 'D')
        take_data(i, at, now);
    else if (*at == 'X')
        die("peer %zu was thrown out", i);
}

static bool receive(int timeout_ms)
{
    struct pollfd poll_for = {.fd = sock, .events = POLLIN};
    if (poll(&poll_for, 1, timeout_ms) <= 0)
        return false;
    char at[2 * DATAGRAM];
    for (int n = 0; n < BATCH; n++) {
        ssize_t got = recv(sock, at, sizeof at - 1, MSG_DONTWAIT);
        if (got < 0)
            break;
        take(at, (size_t)got, now_ns());
    }
    return true;
}

/* ---- phases ---- */

struct connecting {
    double seconds, cpu_us, rss_kib, total_kib;
};

static void say_again(size_t from, size_t to, unsigned after_ms)
{
    uint64_t now = now_ns();
    for (size_t i = from; i < to; i++)
        if (peers[i].last && peers[i].last->len && now - peers[i].said_at > after_ms * 1000000ull)
            send_as(i, peers[i].last);
}

static struct connecting connect_all(void)
{
    double rss = relay_rss_kib();
    size_t before = 0;
    uint64_t cpu = relay_cpu_ns(), start = now_ns(), looked = start;
    size_t first = 0;
    while (registered < count) {
        while (begun < count && begun - registered < opt.opening)
            register_peer(begun++, NULL, 0);
        receive(10);
        if (!before && registered >= FIRST_PEERS) {
            before = registered;
            rss = relay_rss_kib();
        }
        if (now_ns() - looked > 100000000ull) {
            looked = now_ns();
            while (first < begun && *peers[first].cid)
                first++;
            for (size_t i = first; i < begun; i++)
                if (!*peers[i].cid)
                    say_again(i, i + 1, OPENING_AGAIN_MS);
            if (looked - start > 1800 * 1000000000ull)
                die("only %zu of %zu are registered", registered, count);
        }
    }
    double total = relay_rss_kib();
    return (struct connecting){
        .seconds = (double)(now_ns() - start) / 1e9,
        .cpu_us = (double)(relay_cpu_ns() - cpu) / 1e3 / (double)count,
        .rss_kib = count > before ? (total - rss) / (double)(count - before) : 0,
        .total_kib = total,
    };
}

static void pump_for(double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), looked = now_ns();
    while (now_ns() < end) {
        receive(10);
        if (now_ns() - looked > AGAIN_MS * 1000000ull) {
            looked = now_ns();
            say_again(0, 2 * opt.pairs, AGAIN_MS);
        }
    }
}

static struct playing play(void)
{
    frames = calloc(2 * opt.pairs, sizeof *frames);
    if (!frames)
        die("out of memory");
    for (size_t i = 0; i < 2 * opt.pairs; i++) {
        char name[32];
        name_of(i ^ 1, name);
        frames[i] = sigd_json(name, &opt.body);
    }
    answering = true;
    for (size_t pair = 0; pair < opt.pairs; pair++)
        for (size_t n = 0; n < opt.window; n++)
            say_message(2 * pair);
    pump_for(opt.warmup);
    measuring = true;
    uint64_t messages = received, relay = relay_cpu_ns(), own = own_cpu_ns(), start = now_ns();
    pump_for(opt.seconds);
    struct playing result = {
        .messages = received - messages,
        .seconds = (double)(now_ns() - start) / 1e9,
        .relay_cpu_us = (double)(relay_cpu_ns() - relay) / 1e3,
        .own_cpu_us = (double)(own_cpu_ns() - own) / 1e3,
    };
    answering = measuring = false;
    pump_for(1);
    result.lost = in_flight;
    return result;
}

/* Server CPU per `peers` request, each asking for what comes behind another ID. */
static double list_cpu_us(void)
{
    if (!opt.lists)
        return 0;
    uint64_t cpu = relay_cpu_ns();
    for (size_t n = 0; n < opt.lists; n++) {
        char json[128];
        int length = snprintf(json, sizeof json, "{\"type\":\"peers\",\"after\":\"idle%zu\"}", (n * 7919 + 13) % count);
        say(0, json, (size_t)length);
        for (uint64_t before = lists_heard, end = now_ns() + 5000000000ull; lists_heard == before;) {
            if (now_ns() > end)
                die("no list came");
            receive(10);
        }
        acknowledge(0);
    }
    return (double)(relay_cpu_ns() - cpu) / 1e3 / (double)opt.lists;
}

static void print_result(const struct connecting *c, double lists_us, const struct playing *p)
{
    printf("{\"protocol\":\"sigd-udp\",\"pairs\":%zu,\"idle\":%zu,\"window\":%zu,\"frame_bytes\":%zu,",
           opt.pairs, opt.idle, opt.window, opt.pairs ? peers[0].last->len : 0);
    printf("\"connections\":%zu,\"connect_seconds\":%.3f,\"connect_cpu_us\":%.2f,\"rss_kib_per_connection\":%.3f,"
           "\"rss_kib\":%.0f,\"list_cpu_us\":%.1f,",
           count, c->seconds, c->cpu_us, c->rss_kib, c->total_kib, lists_us);
    print_playing(p);
}

/* ---- main ---- */

static void read_options(int argc, char **argv)
{
    static const struct option LONG[] = {
        {"pairs", 1, 0, 'p'},     {"idle", 1, 0, 'i'},    {"window", 1, 0, 'w'},   {"seconds", 1, 0, 's'},
        {"warmup", 1, 0, 'u'},    {"settle", 1, 0, 't'},  {"opening", 1, 0, 'o'},  {"addresses", 1, 0, 'a'},
        {"keepalive", 1, 0, 'k'}, {"secret", 1, 0, 'S'},  {"lists", 1, 0, 'l'},    {"pid", 1, 0, 'P'},
        {0, 0, 0, 0},
    };
    opt.body = candidate_body();
    for (int o; (o = getopt_long(argc, argv, "", LONG, NULL)) != -1;) {
        switch (o) {
        case 'p': opt.pairs = (size_t)number(optarg, 0, 10000); break;
        case 'i': opt.idle = (size_t)number(optarg, 0, 4000000); break;
        case 'w': opt.window = (size_t)number(optarg, 1, MAX_WINDOW); break;
        case 's': opt.seconds = number(optarg, 0, 600); break;
        case 'u': opt.warmup = number(optarg, 0, 60); break;
        case 't': opt.settle = number(optarg, 0, 60); break;
        case 'o': opt.opening = (size_t)number(optarg, 1, 10000); break;
        case 'a': opt.addresses = (size_t)number(optarg, 0, 10000000); break;
        case 'k': opt.keepalive_ms = (unsigned)number(optarg, 5000, 300000); break;
        case 'l': opt.lists = (size_t)number(optarg, 0, 100000); break;
        case 'S': opt.secret = optarg; break;
        case 'P': meter_attach((pid_t)number(optarg, 1, 1 << 30)); break;
        default: exit(2);
        }
    }
    if (argc - optind != 2)
        die("usage: datagrams HOST PORT, and options: see datagrams.c's first lines");
    opt.server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)number(argv[optind + 1], 1, 65535))};
    if (!inet_pton(AF_INET, argv[optind], &opt.server.sin_addr))
        die("not an IPv4 address: %s", argv[optind]);
    count = 2 * opt.pairs + opt.idle;
    if (!count || (opt.lists && !opt.pairs))
        die("nobody to register, or to ask for lists: --pairs and --idle are 0");
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    places_mask = 1;
    while (places_mask < 4 * count)
        places_mask *= 2;
    places = calloc(places_mask, sizeof *places);
    places_mask--;
    peers = calloc(count, sizeof *peers);
    sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int size = BUFFER;
    if (!places || !peers || sock < 0)
        die("cannot start: %s", strerror(errno));
    setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    struct sockaddr_in any = {.sin_family = AF_INET};
    if (!opt.addresses)
        any.sin_addr = opt.server.sin_addr;
    if (bind(sock, (struct sockaddr *)&any, sizeof any))
        die("bind: %s", strerror(errno));
    struct connecting c = connect_all();
    pump_for(opt.settle);
    double lists_us = list_cpu_us();
    struct playing p = {0};
    if (opt.pairs && opt.seconds > 0)
        p = play();
    print_result(&c, lists_us, &p);
    return 0;
}
