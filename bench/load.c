/* load: plays WebRTC signalling ping-pong through a relay and says what it cost.
 *
 *     load PROTOCOL HOST PORT [--pairs N] [--idle M] [--window W] [--size candidate|offer]
 *          [--seconds S] [--warmup S] [--settle S] [--opening N] [--pid PID] [--tls]
 *
 * Connects and registers 2N + M peers, waits (settle), lets N pairs play with W messages in flight each,
 * and prints one line of JSON. The CPU and the memory of process PID are read here, exactly around each phase.
 *
 * One thread, one epoll. Every frame is built before the clock starts, and a burst that came in one read is answered
 * with one writev, so that this program costs less than the relay it loads. What differs between protocols is in a
 * `struct driver`: how to say hello, how a message looks, where a received unit ends and what it is.
 *
 * Compiled with -DTLS, and linked with OpenSSL, it can play over TLS 1.3 too.
 *
 * Reading order: drivers, connections, phases, main.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "bodies.h"
#include "meter.h"

#ifdef TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

enum {
    EVENTS = 256,
    RECEIVE_BYTES = 256 * 1024,
    SEND_BUFFER = 256 * 1024,    /* a whole window fits, so a send is never partial */
    MAX_WINDOW = 512,            /* below IOV_MAX: one writev answers a whole window */
    FIRST_CONNECTIONS = 64,      /* what a server allocates once is not charged to the connections after these */
    CONNECT_SECONDS = 60,
    DRAIN_MS = 2000,
    BEAT_SECONDS = 20,           /* PeerJS drops who was silent for 60 s; its own client beats every 5 s */
};

/* ---- text and bodies that are needed here alone ---- */

static void add_byte(struct text *t, unsigned value)
{
    unsigned char byte = (unsigned char)value;
    add_bytes(t, &byte, 1);
}

static void add_be16(struct text *t, size_t value)
{
    add_byte(t, (unsigned)(value >> 8));
    add_byte(t, (unsigned)(value & 255));
}

/* Lines as a browser writes them, codec after codec until it is 3 kB: as many line ends, so JSON escapes, as usual. */
static struct body offer_body(void)
{
    struct body b = {.type = "offer", .member = "sdp", .probe = "a=x-last:1"};
    add(&b.value, "\"v=0\\r\\no=- 4611731400430051336 2 IN IP4 127.0.0.1\\r\\ns=-\\r\\nt=0 0\\r\\n"
                  "a=group:BUNDLE 0\\r\\na=msid-semantic: WMS stream\\r\\n"
                  "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 100 101 102\\r\\nc=IN IP4 0.0.0.0\\r\\n"
                  "a=ice-ufrag:EEtu\\r\\na=ice-pwd:asd88fgpdd777uzjYhagZg0K\\r\\na=ice-options:trickle\\r\\n"
                  "a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:"
                  "6F:AF:52:CE:E6:0F\\r\\na=setup:actpass\\r\\na=mid:0\\r\\na=sendrecv\\r\\na=rtcp-mux\\r\\n");
    for (unsigned codec = 96; b.value.len < 2850; codec++)
        add(&b.value, "a=rtpmap:%u H264/90000\\r\\na=rtcp-fb:%u goog-remb\\r\\na=rtcp-fb:%u nack pli\\r\\n"
                      "a=fmtp:%u level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\\r\\n",
            codec, codec, codec, codec);
    add(&b.value, "a=x-last:1\\r\\n\"");
    return b;
}

/* ---- drivers ---- */

enum kind { OTHER, READY, MESSAGE, PING, FAULT };

struct unit {
    size_t len;            /* 0: not whole yet */
    enum kind kind;
};

static const struct unit PARTIAL = {0, OTHER};

struct driver {
    const char *name;
    void (*hello)(struct text *out, const char *id);          /* all it takes to be registered, sent at once */
    void (*message)(struct text *out, const char *to, const struct body *b);
    struct unit (*next)(const unsigned char *p, size_t n);    /* the first unit of n > 0 bytes */
    void (*pong)(struct text *out);                           /* the answer to a PING; NULL: it never comes */
    void (*beat)(struct text *out);                           /* sent by every peer now and then; NULL: never */
    bool greets;                                              /* says a line in plain text before its TLS begins */
};

/* Which of the JSON messages this is, by its first "type". */
static enum kind json_kind(const unsigned char *p, size_t n, const char *ready, const char *c, const char *o)
{
    static const char MEMBER[] = "\"type\":\"";
    const unsigned char *found = memmem(p, n, MEMBER, sizeof MEMBER - 1);
    if (!found)
        return FAULT;
    const char *type = (const char *)found + sizeof MEMBER - 1;
    size_t left = n - (size_t)((const unsigned char *)type - p);
    const struct { const char *name; enum kind kind; } table[] = {
        {c, MESSAGE}, {o, MESSAGE}, {ready, READY}, {"ping", PING}, {"pong", OTHER}, {"ok", OTHER},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t len = strlen(table[i].name);
        if (len < left && !memcmp(type, table[i].name, len) && type[len] == '"')
            return table[i].kind;
    }
    return FAULT;
}

/* sigd: a 4-byte length, then JSON. */

static void sigd_frame(struct text *out, const char *json, size_t n)
{
    add_be16(out, n >> 16);
    add_be16(out, n & 0xffff);
    add_bytes(out, json, n);
}

static void sigd_hello(struct text *out, const char *id)
{
    struct text json = {0};
    add(&json, "{\"type\":\"register\",\"id\":\"%s\"}", id);
    sigd_frame(out, json.at, json.len);
    free(json.at);
}

static void sigd_message(struct text *out, const char *to, const struct body *b)
{
    struct text json = sigd_json(to, b);
    sigd_frame(out, json.at, json.len);
    free(json.at);
}

static void sigd_pong(struct text *out)
{
    static const char PONG[] = "{\"type\":\"pong\"}";
    sigd_frame(out, PONG, sizeof PONG - 1);
}

static struct unit sigd_next(const unsigned char *p, size_t n)
{
    if (n < 4)
        return PARTIAL;
    size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (n < 4 + len)
        return PARTIAL;
    return (struct unit){4 + len, json_kind(p + 4, len, "registered", "candidate", "offer")};
}

/* NATS: a peer subscribes to the subject that is its ID, and publishes to its partner's. */

static void nats_hello(struct text *out, const char *id)
{
    add(out, "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\"}\r\n");
    add(out, "SUB %s 1\r\nPING\r\n", id);
}

static void nats_message(struct text *out, const char *to, const struct body *b)
{
    struct text json = sigd_json(to, b);
    add(out, "PUB %s %zu\r\n", to, json.len);
    add_bytes(out, json.at, json.len);
    add(out, "\r\n");
    free(json.at);
}

static void nats_pong(struct text *out) { add(out, "PONG\r\n"); }

static struct unit nats_next(const unsigned char *p, size_t n)
{
    const unsigned char *end = memchr(p, '\n', n);
    if (!end)
        return PARTIAL;
    size_t line = (size_t)(end - p) + 1;
    if (line > 4 && !memcmp(p, "MSG ", 4)) {
        const unsigned char *digits = end - 1;    /* MSG subject sid length\r\n */
        size_t len = 0, unit = 1;
        while (digits > p && *--digits != ' ') {
            len += unit * (size_t)(*digits - '0');
            unit *= 10;
        }
        size_t whole = line + len + 2;
        return n < whole ? PARTIAL : (struct unit){whole, MESSAGE};
    }
    if (!memcmp(p, "PONG", 4))    /* to the PING of our hello */
        return (struct unit){line, READY};
    if (!memcmp(p, "PING", 4))
        return (struct unit){line, PING};
    return (struct unit){line, memcmp(p, "INFO", 4) ? FAULT : OTHER};
}

/* Redis, RESP3: one connection both subscribes and publishes, and CLIENT REPLY OFF spares it the reply to every PUBLISH
 * (messages still come: they are pushes). This is its cheapest way to do the job. */

static void redis_hello(struct text *out, const char *id)
{
    add(out, "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n");
    add(out, "*2\r\n$9\r\nSUBSCRIBE\r\n$%zu\r\n%s\r\n", strlen(id), id);
}

static void redis_message(struct text *out, const char *to, const struct body *b)
{
    struct text json = sigd_json(to, b);
    add(out, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(to), to, json.len);
    add_bytes(out, json.at, json.len);
    add(out, "\r\n");
    free(json.at);
}

/* The length of one RESP3 value with all that is nested in it; 0 if it is not whole. */
static size_t resp_length(const unsigned char *p, size_t n)
{
    size_t at = 0;
    for (size_t due = 1; due; due--) {
        const unsigned char *end = at < n ? memchr(p + at, '\n', n - at) : NULL;
        if (!end)
            return 0;
        unsigned char type = p[at];
        long count = atol((const char *)p + at + 1);
        at = (size_t)(end - p) + 1;
        if (type == '$' && count >= 0)
            at += (size_t)count + 2;
        else if (type == '*' || type == '>' || type == '~')
            due += count > 0 ? (size_t)count : 0;
        else if (type == '%')
            due += 2 * (size_t)count;
    }
    return at <= n ? at : 0;
}

static struct unit redis_next(const unsigned char *p, size_t n)
{
    size_t len = resp_length(p, n);
    if (!len)
        return PARTIAL;
    static const char PUSHED[] = ">3\r\n$7\r\nmessage", SUBSCRIBED[] = ">3\r\n$9\r\nsubscribe";
    enum kind kind = *p == '-' ? FAULT : OTHER;
    if (len > sizeof PUSHED && !memcmp(p, PUSHED, sizeof PUSHED - 1))
        kind = MESSAGE;
    else if (len > sizeof SUBSCRIBED && !memcmp(p, SUBSCRIBED, sizeof SUBSCRIBED - 1))
        kind = READY;
    return (struct unit){len, kind};
}

/* MQTT 3.1.1, QoS 0: a peer subscribes to the topic that is its ID, and publishes to its partner's. */

static void mqtt_packet(struct text *out, unsigned type, const struct text *rest)
{
    add_byte(out, type);
    size_t left = rest->len;
    do {
        add_byte(out, (unsigned)(left & 127) | (left > 127 ? 128u : 0u));
        left >>= 7;
    } while (left);
    add_bytes(out, rest->at, rest->len);
}

static void mqtt_string(struct text *out, const char *s)
{
    add_be16(out, strlen(s));
    add(out, "%s", s);
}

static void mqtt_hello(struct text *out, const char *id)
{
    struct text rest = {0};
    mqtt_string(&rest, "MQTT");
    add_byte(&rest, 4);        /* protocol level: 3.1.1 */
    add_byte(&rest, 2);        /* clean session */
    add_be16(&rest, 0);        /* no keep-alive */
    mqtt_string(&rest, id);
    mqtt_packet(out, 0x10, &rest);
    rest.len = 0;
    add_be16(&rest, 1);
    mqtt_string(&rest, id);
    add_byte(&rest, 0);        /* QoS */
    mqtt_packet(out, 0x82, &rest);
    free(rest.at);
}

static void mqtt_message(struct text *out, const char *to, const struct body *b)
{
    struct text rest = {0};
    struct text json = sigd_json(to, b);
    mqtt_string(&rest, to);
    add_bytes(&rest, json.at, json.len);
    mqtt_packet(out, 0x30, &rest);
    free(json.at);
    free(rest.at);
}

static struct unit mqtt_next(const unsigned char *p, size_t n)
{
    size_t len = 0, at = 1;
    for (unsigned shift = 0;; shift += 7) {
        if (at >= n || shift > 21)
            return PARTIAL;
        len |= (size_t)(p[at] & 127) << shift;
        if (!(p[at++] & 128))
            break;
    }
    if (n < at + len)
        return PARTIAL;
    enum kind kind = FAULT;
    if (p[0] >> 4 == 3)
        kind = MESSAGE;
    else if (p[0] == 0x20 && len == 2 && p[at + 1] == 0)    /* CONNACK, accepted */
        kind = OTHER;
    else if (p[0] == 0x90 && len == 3 && p[at + 2] == 0)    /* SUBACK, granted */
        kind = READY;
    return (struct unit){at + len, kind};
}

/* PeerJS: JSON in masked WebSocket text frames. */

static void websocket_text(struct text *out, const char *json, size_t n)
{
    static const unsigned char MASK[4] = {0x37, 0xfa, 0x21, 0x3d};
    add_byte(out, 0x81);
    add_byte(out, 0x80 | (n < 126 ? (unsigned)n : 126));
    if (n >= 126)
        add_be16(out, n);
    add_bytes(out, MASK, sizeof MASK);
    for (size_t i = 0; i < n; i++)
        add_byte(out, (unsigned char)json[i] ^ MASK[i & 3]);
}

static void peerjs_hello(struct text *out, const char *id)
{
    add(out, "GET /peerjs?key=peerjs&id=%s&token=t%s&version=1.5.4 HTTP/1.1\r\nHost: localhost\r\n", id, id);
    add(out, "Upgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
}

static void peerjs_message(struct text *out, const char *to, const struct body *b)
{
    bool offer = !strcmp(b->type, "offer");
    struct text json = {0};
    add(&json, "{\"type\":\"%s\",\"dst\":\"%s\",\"payload\":%s", offer ? "OFFER" : "CANDIDATE", to,
        offer ? "{\"type\":\"offer\",\"sdp\":" : "");
    add_bytes(&json, b->value.at, b->value.len);
    add(&json, offer ? "}}" : "}");
    websocket_text(out, json.at, json.len);
    free(json.at);
}

static void peerjs_beat(struct text *out)
{
    static const char BEAT[] = "{\"type\":\"HEARTBEAT\"}";
    websocket_text(out, BEAT, sizeof BEAT - 1);
}

static struct unit peerjs_next(const unsigned char *p, size_t n)
{
    if (p[0] == 'H') {    /* HTTP/1.1 101, before the first frame; no frame begins like this */
        const unsigned char *end = memmem(p, n, "\r\n\r\n", 4);
        if (!end)
            return PARTIAL;
        return (struct unit){(size_t)(end - p) + 4, memcmp(p + 9, "101", 3) ? FAULT : OTHER};
    }
    if (n < 2)
        return PARTIAL;
    size_t head = 2, len = p[1];
    if (len == 126) {
        if (n < 4)
            return PARTIAL;
        head = 4;
        len = (size_t)p[2] << 8 | p[3];
    }
    if (n < head + len)
        return PARTIAL;
    enum kind kind = p[0] == 0x81 && p[1] < 127 ? json_kind(p + head, len, "OPEN", "CANDIDATE", "OFFER") : FAULT;
    return (struct unit){head + len, kind};
}

static const struct driver DRIVERS[] = {
    {"sigd", sigd_hello, sigd_message, sigd_next, sigd_pong, NULL, false},
    {"nats", nats_hello, nats_message, nats_next, nats_pong, NULL, true},
    {"redis", redis_hello, redis_message, redis_next, NULL, NULL, false},
    {"mqtt", mqtt_hello, mqtt_message, mqtt_next, NULL, NULL, false},
    {"peerjs", peerjs_hello, peerjs_message, peerjs_next, NULL, peerjs_beat, false},
};

/* ---- connections ---- */

struct conn {
    int fd;
    struct ssl_st *tls;          /* OpenSSL's SSL; NULL: plain text */
    bool registered, verified;
    uint32_t sent, arrived;      /* messages of this peer, and those of them that reached its partner */
    uint64_t *sent_at;           /* when, by sent % window; order is kept, so the partner's next is the oldest */
    struct text frame;           /* its message to its partner */
    char *rest;                  /* the start of a unit that has not come whole */
    size_t rest_len;
};

static struct {
    const struct driver *driver;
    const char *host;
    uint16_t port;
    size_t pairs, idle, window, opening;
    double seconds, warmup, settle;
    bool tls;
    struct body body;
} opt = {.pairs = 0, .idle = 0, .window = 1, .opening = 8, .seconds = 3, .warmup = 0.5, .settle = 0};

static struct conn *conns;
static size_t opened, registered;
static int epoll_fd;
static bool answering, measuring;
static uint64_t received, in_flight;
static unsigned char incoming[RECEIVE_BYTES];

/* ---- TLS ---- */

#ifdef TLS

static SSL_CTX *tls_context;

_Noreturn static void tls_die(const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_get_error());
    die("TLS %s with %s: %s", what, opt.driver->name, reason ? reason : strerror(errno));
}

static void tls_start(void)
{
    tls_context = SSL_CTX_new(TLS_client_method());
    /* One version and one cipher for everybody, the one that OpenSSL prefers. Nobody's certificate is looked at. */
    if (!tls_context || !SSL_CTX_set_min_proto_version(tls_context, TLS1_3_VERSION)
        || !SSL_CTX_set_ciphersuites(tls_context, "TLS_AES_256_GCM_SHA384"))
        tls_die("start");
    SSL_CTX_set_read_ahead(tls_context, 1);    /* one system call per record, not one more for its length */
}

/* The handshake, while the socket still blocks. */
static void tls_open(struct conn *c)
{
    for (char byte = 0; opt.driver->greets && byte != '\n';)
        if (recv(c->fd, &byte, 1, 0) != 1)
            die("%s does not greet", opt.driver->name);
    c->tls = SSL_new(tls_context);
    if (!c->tls || !SSL_set_fd(c->tls, c->fd) || SSL_connect(c->tls) != 1)
        tls_die("handshake");
}

/* As recv does: bytes of one record at most, 0 at the end of the file, -1 with EAGAIN. */
static ssize_t tls_receive(struct conn *c, void *at, size_t room)
{
    int n = SSL_read(c->tls, at, (int)room);
    if (n > 0)
        return n;
    int error = SSL_get_error(c->tls, n);
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (error != SSL_ERROR_WANT_READ)
        tls_die("read");
    errno = EAGAIN;
    return -1;
}

/* As writev does, for joined parts: they share a record, as they share a segment in plain text. */
static ssize_t tls_send(struct conn *c, const struct iovec *parts, int count)
{
    static unsigned char joined[SEND_BUFFER];
    size_t len = 0;
    for (int i = 0; i < count; i++) {
        memcpy(joined + len, parts[i].iov_base, parts[i].iov_len);
        len += parts[i].iov_len;
    }
    int n = SSL_write(c->tls, joined, (int)len);
    if (n <= 0)
        tls_die("write");
    return n;
}

/* Whether something was read from the socket that epoll knows nothing of any more. */
static bool tls_has_more(const struct conn *c) { return c->tls && SSL_has_pending(c->tls); }

#else

/* The first ends the program, the last says no; the others are never called. */
static void tls_start(void) { die("built without TLS"); }
static void tls_open(struct conn *c) { (void)c; }
static ssize_t tls_receive(struct conn *c, void *at, size_t room) { return (void)c, (void)at, (void)room, -1; }
static ssize_t tls_send(struct conn *c, const struct iovec *parts, int n) { return (void)c, (void)parts, (void)n, -1; }
static bool tls_has_more(const struct conn *c) { return (void)c, false; }

#endif

/* ---- what goes over connections ---- */

static void send_whole(struct conn *c, const struct iovec *parts, int count, size_t bytes)
{
    ssize_t n = c->tls       ? tls_send(c, parts, count)
                : count == 1 ? send(c->fd, parts->iov_base, parts->iov_len, 0)
                             : writev(c->fd, parts, count);
    if (n < 0)
        die("send to %s: %s", opt.driver->name, strerror(errno));
    if ((size_t)n != bytes)
        die("send to %s: only %zd of %zu bytes fitted", opt.driver->name, n, bytes);
}

static void send_made(struct conn *c, void (*make)(struct text *out))
{
    struct text t = {0};
    make(&t);
    struct iovec part = {t.at, t.len};
    send_whole(c, &part, 1, t.len);
    free(t.at);
}

static void send_messages(struct conn *c, size_t count)
{
    struct iovec parts[MAX_WINDOW];
    uint64_t now = now_ns();
    for (size_t i = 0; i < count; i++) {
        parts[i] = (struct iovec){c->frame.at, c->frame.len};
        c->sent_at[c->sent++ % opt.window] = now;
    }
    in_flight += count;
    send_whole(c, parts, (int)count, count * c->frame.len);
}

static void take_message(struct conn *c, const unsigned char *p, size_t n, uint64_t now)
{
    size_t index = (size_t)(c - conns);
    if (index >= 2 * opt.pairs)
        die("a message for an idle peer");
    struct conn *partner = &conns[index ^ 1];
    if (partner->arrived == partner->sent)
        die("a message that nobody sent");
    if (!c->verified && !memmem(p, n, opt.body.probe, strlen(opt.body.probe)))
        die("a message that is not what was sent, in %zu bytes", n);
    c->verified = true;
    if (measuring)
        record_latency(now - partner->sent_at[partner->arrived % opt.window]);
    partner->arrived++;
    received++;
    in_flight--;
}

_Noreturn static void refuse(const unsigned char *p, size_t n)
{
    char shown[300];
    size_t len = 0;
    for (size_t i = 0; i < n && len < sizeof shown; i++)
        if (p[i] >= ' ' && p[i] < 127)
            shown[len++] = (char)p[i];
    die("%s said: %.*s", opt.driver->name, (int)len, shown);
}

/* Returns how many messages were among the n bytes; what is left of them is kept for later. */
static size_t take_units(struct conn *c, const unsigned char *p, size_t n, uint64_t now)
{
    size_t messages = 0;
    while (n) {
        struct unit u = opt.driver->next(p, n);
        if (!u.len)
            break;
        switch (u.kind) {
        case MESSAGE:
            take_message(c, p, u.len, now);
            messages++;
            break;
        case READY:
            registered += !c->registered;
            c->registered = true;
            break;
        case PING:
            send_made(c, opt.driver->pong);
            break;
        case FAULT:
            refuse(p, u.len);
        case OTHER:
            break;
        }
        p += u.len;
        n -= u.len;
    }
    if (n == RECEIVE_BYTES)
        die("a unit of more than %d bytes", RECEIVE_BYTES);
    if (n || c->rest_len) {
        c->rest = realloc(c->rest, n + 1);
        if (!c->rest)
            die("out of memory");
        memcpy(c->rest, p, n);
        c->rest_len = n;
    }
    return messages;
}

static void receive(struct conn *c)
{
    size_t messages = 0;
    do {
        if (c->rest_len)
            memcpy(incoming, c->rest, c->rest_len);
        unsigned char *at = incoming + c->rest_len;
        size_t room = RECEIVE_BYTES - c->rest_len;
        ssize_t n = c->tls ? tls_receive(c, at, room) : recv(c->fd, at, room, 0);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0)
            die("%s closed connection %zu: %s", opt.driver->name, (size_t)(c - conns),
                n ? strerror(errno) : "end of file");
        messages += take_units(c, incoming, c->rest_len + (size_t)n, now_ns());
    } while (tls_has_more(c));
    if (messages && answering)
        send_messages(c, messages);
}

static void open_next(void)
{
    struct conn *c = &conns[opened];
    char id[32], partner[32];
    snprintf(id, sizeof id, "p%06zu", opened);
    snprintf(partner, sizeof partner, "p%06zu", opened ^ 1);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(opt.port)};
    if (inet_pton(AF_INET, opt.host, &to.sin_addr) != 1)
        die("not an IPv4 address: %s", opt.host);
    int one = 1, buffer = SEND_BUFFER;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to))
        die("connect %zu: %s", opened, strerror(errno));
    if (opt.tls)
        tls_open(c);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event))
        die("epoll: %s", strerror(errno));
    if (opened < 2 * opt.pairs) {
        opt.driver->message(&c->frame, partner, &opt.body);
        c->sent_at = calloc(opt.window, sizeof *c->sent_at);
        if (!c->sent_at)
            die("out of memory");
    }
    opened++;
    struct text hello = {0};
    opt.driver->hello(&hello, id);
    struct iovec part = {hello.at, hello.len};
    send_whole(c, &part, 1, hello.len);
    free(hello.at);
}

/* ---- phases ---- */

static void pump(int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, timeout_ms);
    if (n < 0 && errno != EINTR)
        die("epoll: %s", strerror(errno));
    for (int i = 0; i < n; i++)
        receive(events[i].data.ptr);
}

/* Each peer beats once in BEAT_SECONDS, spread evenly. */
static void beat_if_due(uint64_t now)
{
    static uint64_t due;
    static size_t next;
    if (!opt.driver->beat || now < due)
        return;
    due = now + BEAT_SECONDS * 1000000000ull / opened;
    send_made(&conns[next++ % opened], opt.driver->beat);
}

static void pump_for(double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    for (uint64_t now; (now = now_ns()) < end;) {
        beat_if_due(now);
        uint64_t left_ms = (end - now) / 1000000 + 1;
        pump(opt.driver->beat ? 1 : (int)(left_ms < 100 ? left_ms : 100));
    }
}

/* At most `opening` peers at a time are not yet registered: a crowd at the door is another test. */
static void connect_until(size_t wanted)
{
    uint64_t end = now_ns() + CONNECT_SECONDS * 1000000000ull;
    while (registered < wanted) {
        while (opened < wanted && opened - registered < opt.opening)
            open_next();
        pump(100);
        if (now_ns() > end)
            die("only %zu of %zu peers registered in %d s", registered, wanted, CONNECT_SECONDS);
    }
}

/* What is still under way must arrive once nobody answers any more: returns how many messages did not. */
static uint64_t drain(void)
{
    answering = measuring = false;
    uint64_t end = now_ns() + DRAIN_MS * 1000000ull;
    while (in_flight && now_ns() < end)
        pump(10);
    return in_flight;
}

struct connecting {
    size_t count;
    double cpu_us, rss_kib, seconds;    /* the first two per connection, the last in all */
};

static struct connecting connect_all(void)
{
    size_t all = 2 * opt.pairs + opt.idle, first = all < FIRST_CONNECTIONS ? all : FIRST_CONNECTIONS;
    connect_until(first);
    struct connecting result = {.count = all - first};
    double rss = relay_rss_kib();
    uint64_t cpu = relay_cpu_ns(), start = now_ns();
    connect_until(all);
    result.seconds = (double)(now_ns() - start) / 1e9;
    uint64_t spent = relay_cpu_ns() - cpu;
    pump_for(opt.settle);
    if (result.count) {
        result.cpu_us = (double)spent / 1e3 / (double)result.count;
        result.rss_kib = (relay_rss_kib() - rss) / (double)result.count;
    }
    return result;
}

static struct playing play(void)
{
    answering = true;
    for (size_t i = 0; i < opt.pairs; i++)
        send_messages(&conns[2 * i], opt.window);
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
    result.lost = drain();
    return result;
}

static void print_result(const struct connecting *c, const struct playing *p)
{
    printf("{\"protocol\":\"%s\",\"pairs\":%zu,\"idle\":%zu,\"window\":%zu,\"size\":\"%s\",\"frame_bytes\":%zu,",
           opt.driver->name, opt.pairs, opt.idle, opt.window, opt.body.type, opt.pairs ? conns[0].frame.len : 0);
    printf("\"connections\":%zu,\"connect_seconds\":%.3f,\"connect_cpu_us\":%.2f,\"rss_kib_per_connection\":%.3f,",
           c->count, c->seconds, c->cpu_us, c->rss_kib);
    print_playing(p);
}

/* ---- main ---- */

static void read_options(int argc, char **argv)
{
    static const struct option LONG[] = {
        {"pairs", 1, 0, 'p'},   {"idle", 1, 0, 'i'},   {"window", 1, 0, 'w'},  {"size", 1, 0, 'z'},
        {"seconds", 1, 0, 's'}, {"warmup", 1, 0, 'u'}, {"settle", 1, 0, 't'},  {"opening", 1, 0, 'o'},
        {"pid", 1, 0, 'P'},     {"tls", 0, 0, 'T'},    {0, 0, 0, 0},
    };
    opt.body = candidate_body();
    for (int o; (o = getopt_long(argc, argv, "", LONG, NULL)) != -1;) {
        switch (o) {
        case 'p': opt.pairs = (size_t)number(optarg, 0, 10000); break;
        case 'i': opt.idle = (size_t)number(optarg, 0, 28000); break;
        case 'w': opt.window = (size_t)number(optarg, 1, MAX_WINDOW); break;
        case 's': opt.seconds = number(optarg, 0, 600); break;
        case 'u': opt.warmup = number(optarg, 0, 60); break;
        case 't': opt.settle = number(optarg, 0, 60); break;
        case 'o': opt.opening = (size_t)number(optarg, 1, 1000); break;
        case 'P': meter_attach((pid_t)number(optarg, 1, 1 << 30)); break;
        case 'T': opt.tls = true; break;
        case 'z':
            if (strcmp(optarg, "candidate") && strcmp(optarg, "offer"))
                die("--size is candidate or offer");
            if (*optarg == 'o')
                opt.body = offer_body();
            break;
        default: exit(2);
        }
    }
    if (argc - optind != 3)
        die("usage: load sigd|nats|redis|mqtt|peerjs HOST PORT, and options: see load.c's first lines");
    for (size_t i = 0; i < sizeof DRIVERS / sizeof *DRIVERS; i++)
        if (!strcmp(argv[optind], DRIVERS[i].name))
            opt.driver = &DRIVERS[i];
    if (!opt.driver)
        die("no such protocol: %s", argv[optind]);
    opt.host = argv[optind + 1];
    opt.port = (uint16_t)number(argv[optind + 2], 1, 65535);
    if (2 * opt.pairs + opt.idle == 0)
        die("nobody to connect: --pairs and --idle are 0");
    if (opt.window * (opt.body.value.len + 200) > SEND_BUFFER)
        die("a window of %zu does not fit a socket's buffer", opt.window);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);    /* a relay that goes away is said, not died of */
    if (opt.tls)
        tls_start();
    alarm((unsigned)(2 * CONNECT_SECONDS + opt.settle + opt.warmup + opt.seconds + 10));

    conns = calloc(2 * opt.pairs + opt.idle, sizeof *conns);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!conns || epoll_fd < 0)
        die("cannot start: %s", strerror(errno));
    struct connecting c = connect_all();
    struct playing p = {0};
    if (opt.pairs && opt.seconds > 0)
        p = play();
    print_result(&c, &p);
    return 0;
}
