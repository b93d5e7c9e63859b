/* sigd.h: a client of sigd, the WebRTC signaling daemon, for devices. C99; no malloc, threads, sockets or clock.
 * One source file defines SIGD_IMPLEMENTATION above the include. Fill in a struct sigd_config, then sigd_init() and
 * sigd_start(); and again and again sigd_poll(), sigd_feed(), and what sigd_state() says. README.md has a whole
 * program, and the rest that there is to know; protocol.md describes what is on the wire. */
#ifndef SIGD_H
#define SIGD_H

#include <stddef.h>
#include <stdint.h>
#include "sigd_codes.h"

/* SIGD_NO_UDP and SIGD_NO_MAC leave that out: what is never called the compiler drops. */
#if defined SIGD_NO_UDP
enum { SIGD_WITH_UDP = 0, SIGD_WITH_MAC = 0, SIGD_SCRATCH_BYTES = 256 };
#elif defined SIGD_NO_MAC
enum { SIGD_WITH_UDP = 1, SIGD_WITH_MAC = 0, SIGD_SCRATCH_BYTES = SIGD_MAX_DATAGRAM };
#else
enum { SIGD_WITH_UDP = 1, SIGD_WITH_MAC = 1, SIGD_SCRATCH_BYTES = SIGD_MAX_DATAGRAM };
#endif

enum sigd_state {
    SIGD_STATE_ENDED,       /* no link, and none will be made before sigd_start(): close your socket */
    SIGD_STATE_WAITING,     /* no link for a while: close your socket */
    SIGD_STATE_CONNECTING,  /* connect a new socket, then call sigd_connected(), or sigd_lost() if you cannot */
    SIGD_STATE_REGISTERING, /* the server was asked for the ID */
    SIGD_STATE_REGISTERED,  /* you can send */
    SIGD_STATE_LEAVING      /* the server was told, and will close */
};

struct sigd_received { /* its texts lie in your buffer, end in NUL, and are gone when `heard` returns; NULL: none */
    enum sigd_type type;
    enum sigd_code code; /* of an error; code_text is the same as it was spelled, body a text for people */
    uint32_t ref;        /* of your message that this is about, as sigd_offer() and the like returned it; 0: of none */
    uint32_t wait_ms;    /* of an error and of goingAway: the least pause, which is kept to when connecting again */
    uint32_t expires_ms; /* of registered: what the credential has left; of ICE servers: what theirs have; 0: no end */
    char *peer, *session; /* peer: who sent it; of registered: you; of an error: for whom the message was */
    const char *code_text;
    char *body;          /* SDP and reasons as text; candidates, data and ICE servers as JSON, for sigd_find() */
    size_t body_size;    /* without the NUL */
};

struct sigd_config { /* who you are, and what you provide; its texts end in NUL and stay as they are; NULL: none */
    const char *id;           /* NULL: the server picks one */
    const char *user, *token; /* over UDP these two seal every datagram, and the token is never sent */
    const char *jwt, *meta;   /* `meta`: a JSON object that other peers can see */
    uint32_t keepalive_ms;    /* 0: as the server likes it */
    int udp;                  /* 1: datagrams; 0: a stream, which is TCP or TLS */
    char *buffer;             /* for one message that comes: SIGD_MIN_FRAME bytes or more, 4096 hold most SDPs. */
    uint32_t buffer_size;     /* The server refuses longer ones to their senders */
    void *context;            /* is passed to: */
    /* Sends; returns how many bytes were taken, of a datagram all or none. 0: not now. Below 0: a stream is broken. */
    int32_t (*send)(void *context, const void *data, size_t size);
    uint32_t (*random)(void *context); /* 32 bits that nobody can guess */
    void (*heard)(void *context, const struct sigd_received *received); /* in it only send, and take JSON apart */
};

struct sigd_text { char *at; size_t size; }; /* NULL: there is none */
struct sigd_piece { const char *at; uint32_t size : 31, escaped : 1; };
struct sigd_place { uint32_t at; uint8_t piece, part; }; /* a byte of a piece, and a character of its escape */
enum { SIGD_DUE_REGISTER = 1, SIGD_DUE_PONG = 2, SIGD_DUE_PING = 4, SIGD_DUE_UNREGISTER = 8 };
struct sigd_link { /* what is forgotten with it */
    uint8_t due, prefix_bytes, in_line, has_mac, linked, doubted, ack_due, tries; /* from `has_mac` on: UDP */
    uint32_t registered_at, ping_at, keepalive_ms, max_frame, filled, length;
    uint32_t seen, mid_in, slice_in, ping_seen, ping, ping_open; /* the first of ours without an answer; 0: none */
    uint32_t seq, seq_ack, mid, slice, first_sent, resend_at, rto_ms, rtt_8, rttvar_4; /* scaled by 8 and 4 */
    uint8_t secret[32]; /* of the register the mac, of a link the key */
    char cookie[SIGD_MAX_COOKIE + 1], nonce[16 + 1], cid[16];
};

struct sigd {
    enum sigd_state state;
    const char *why;         /* the last link ended, a word or two for people */
    uint32_t now, due, hold_ms, last_ref, failures; /* due: when the state has lasted too long */
    uint32_t going_size, going_ref, head_size, piece_count; /* going: the message on its way; 0: none */
    struct sigd_link link;
    struct sigd_place place;
    struct sigd_config config;
    struct sigd_piece pieces[32];
    char id[SIGD_MAX_NAME + 1], head[148], scratch[SIGD_SCRATCH_BYTES]; /* you may receive into `scratch` */
};

/* The life of a client. `now` is in milliseconds, from a clock that nobody sets; it may wrap around. */
#define SIGD_FOREVER UINT32_MAX /* what sigd_poll() returns when nothing is to be done */
void sigd_init(struct sigd *s, const struct sigd_config *config);
void sigd_start(struct sigd *s, uint32_t now);
void sigd_connected(struct sigd *s, uint32_t now);
void sigd_lost(struct sigd *s, uint32_t now);
void sigd_feed(struct sigd *s, const void *data, size_t size, uint32_t now); /* any part of a stream, or one datagram */
uint32_t sigd_poll(struct sigd *s, uint32_t now);   /* sends; after so many ms call it again at the latest */
void sigd_unregister(struct sigd *s, uint32_t now); /* a stream's server has a second to close, else it is at once */
static inline enum sigd_state sigd_state(const struct sigd *s) { return s->state; }
static inline const char *sigd_id(const struct sigd *s) { return s->id; }
static inline int sigd_is_ready(const struct sigd *s) { return s->state == SIGD_STATE_REGISTERED && !s->going_size; }
/* Whether a stream did not take all: call sigd_poll() as soon as it takes more. */
static inline int sigd_is_stuck(const struct sigd *s) { return s->going_size && !s->config.udp; }

/* Sending, one message at a time: returns a ref above 0, with which SIGD_TYPE_OK or _ERROR come, or one of these. */
enum { SIGD_NOT_NOW = 0, SIGD_TOO_LARGE = -1, SIGD_BAD_NAME = -2 };
#define sigd_offer(s, to, session, sdp) sigd_say(s, "offer", to, session, ",\"sdp\":\"%e\"", sdp, "", NULL)
#define sigd_answer(s, to, session, sdp) sigd_say(s, "answer", to, session, ",\"sdp\":\"%e\"", sdp, "", NULL)
#define sigd_candidate(s, to, session, line, mid) \
    sigd_say(s, "candidate", to, session, ",\"candidate\":{\"candidate\":\"%e\"", line, ",\"sdpMid\":\"%e\"}", mid)
#define sigd_end_of_candidates(s, to, session) \
    sigd_say(s, "candidate", to, session, ",\"candidate\":null", "", "", NULL)
#define sigd_bye(s, to, session, reason) sigd_say(s, "bye", to, session, ",\"reason\":\"%e\"", reason, "", NULL)
#define sigd_message(s, to, session, json) sigd_say(s, "message", to, session, ",\"data\":%r", json, "", NULL)
#define sigd_ask_ice_servers(s) sigd_say(s, "iceServers", NULL, NULL, "", NULL, "", NULL)
/* `rest_a`: a member, in which %e stands for the text `a`, or %r for JSON; with NULL it is left out. */
int32_t sigd_say(struct sigd *s, const char *type, const char *to, const char *session, const char *rest_a,
                 const char *a, const char *rest_b, const char *b);
void sigd_renew(struct sigd *s, const char *user, const char *token); /* with macs that takes a new link */

struct sigd_text sigd_find(char *json, size_t size, const char *name); /* a member's value as it stands */
char *sigd_unescape(struct sigd_text *value); /* a string's text in its place, or NULL; find all you want before */

#endif /* SIGD_H */

#if defined SIGD_IMPLEMENTATION && !defined SIGD_IMPLEMENTED
#define SIGD_IMPLEMENTED

#include <string.h>
#include "sigd_hmac.h"

static int sigd__is_udp(const struct sigd *s) { return SIGD_WITH_UDP && s->config.udp; }
static int sigd__has_mac(const struct sigd *s) { return SIGD_WITH_MAC && s->link.has_mac; }
static int sigd__reached(uint32_t now, uint32_t when) { return now - when < 0x80000000u; }
static uint32_t sigd__least(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t sigd__most(uint32_t a, uint32_t b) { return a > b ? a : b; }
static char *sigd__copy(char *to, const void *bytes, size_t size) { return (char *)memcpy(to, bytes, size) + size; }
static const char *sigd__following(const char *text) { return text + strlen(text) + 1; }

static char *sigd__digits(char *to, uint32_t number) {
    if (number > 9) to = sigd__digits(to, number / 10); /* ten deep at most */
    *to = (char)('0' + number % 10);
    return to + 1;
}

/* The number that stands here, or the largest if it is larger than that; `at` is moved behind it. */
static uint32_t sigd__number(const char **at, const char *end) {
    uint32_t number = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; ++*at)
        number = number < UINT32_MAX / 10 ? number * 10 + (uint32_t)(**at - '0') : UINT32_MAX;
    return number;
}

/* -- JSON */
static int sigd__is(struct sigd_text string, const char *text) {
    size_t size = strlen(text);
    return string.size == size + 2 && *string.at == '"' && memcmp(string.at + 1, text, size) == 0;
}

struct sigd_text sigd_find(char *json, size_t size, const char *name) {
    struct sigd_text found = {NULL, 0}, last = {json, 0};
    char *end = json + size, *next;
    int depth = 0, is_named = 0;
    for (char *at = json; at < end; at = next) {
        next = at + 1;
        if (*at == '"') { /* past the string */
            while (next < end && *next != '"') next += *next == '\\' && end - next > 1 ? 2 : 1;
            next += next < end;
        }
        if ((uint8_t)*at <= ' ') continue;
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']'); /* of any kind: a server's JSON is valid */
        if (depth < 1 || (depth == 1 && *at == ',' && is_named)) {
            if (found.at) found.size = (size_t)(last.at + last.size - found.at); /* a NUL will stand at `at` */
            return found;
        }
        if (is_named && !found.at) found.at = at;
        if (depth == 1 && *at == ':' && !is_named) is_named = sigd__is(last, name);
        last.at = at;
        last.size = (size_t)(next - at);
    }
    found.at = NULL;
    return found;
}

/* The letter that escapes a character, or (`from` 1) the character that a letter stands for; 0: there is none. */
static char sigd__letter(char c, int from) {
    static const char pairs[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (int i = 0; i < 14; i += 2) if (pairs[i + from] == c) return pairs[i + 1 - from];
    return 0;
}

static int32_t sigd__code(const char *at, const char *end) { /* of \uXXXX, or -1 */
    int32_t value = 0;
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u') return -1;
    for (int i = 2; i < 6; i++) value = value * 16 + (at[i] & 15) + (at[i] > '9' ? 9 : 0);
    return value & 0xFFFF;
}

char *sigd_unescape(struct sigd_text *value) {
    if (value->size < 2 || *value->at != '"') return NULL;
    const char *end = value->at + value->size - 1;
    char *in = ++value->at, *out = in;
    while (in < end) {
        int32_t code = sigd__code(in, end), low = code >> 10 == 0xD800 >> 10 ? sigd__code(in + 6, end) : -1;
        if (code < 0) {
            char letter = *in == '\\' && in + 1 < end ? sigd__letter(*++in, 1) : 0;
            *out++ = letter ? letter : *in;
            in++;
            continue;
        }
        in += low >> 10 == 0xDC00 >> 10 ? 12 : 6;
        if (low >> 10 == 0xDC00 >> 10) code = 0x10000 + (code % 1024 << 10) + low % 1024;
        if (code >> 11 == 0xD800 >> 11) code = 0xFFFD; /* half of a pair */
        int more = (code > 0x7F) + (code > 0x7FF) + (code > 0xFFFF); /* bytes of UTF-8, fewer than the escape has */
        *out++ = (char)(more ? (0xF80 >> more & 0xFF) | code >> 6 * more : code);
        while (more--) *out++ = (char)(0x80 | (code >> 6 * more & 0x3F));
    }
    *out = 0;
    value->size = (size_t)(out - value->at);
    return value->at;
}

static struct sigd_text sigd__member(const struct sigd *s, const char *name) { /* of the message that has come */
    return sigd_find(s->config.buffer, s->link.filled, name);
}

static uint32_t sigd__number_of(const struct sigd *s, const char *name) {
    struct sigd_text found = sigd__member(s, name);
    const char *at = found.size && *found.at == '"' ? found.at + 1 : found.at;
    return at ? sigd__number(&at, found.at + found.size) : 0;
}

/* -- The message on its way: pieces, most of them read where they are, the caller's texts escaped meanwhile */
static size_t sigd__escape(char c, char *out) {
    char letter = sigd__letter(c, 0);
    *out = letter || (unsigned char)c < 0x20 ? '\\' : c;
    out[1] = letter;
    if (letter || *out == c) return letter ? 2 : 1;
    sigd__copy(out + 1, "u00", 3);
    out[4] = sigd__hex[c >> 4];
    out[5] = sigd__hex[c & 15];
    return 6;
}

/* The next bytes of it, at most `room`, moving `place` behind them; `out` NULL: that only. */
static size_t sigd__read(const struct sigd *s, struct sigd_place *place, char *out, size_t room) {
    size_t count = 0;
    for (; count < room && place->piece < s->piece_count; count++) {
        const struct sigd_piece *piece = &s->pieces[place->piece];
        char escape[6] = {piece->at[place->at]};
        size_t length = piece->escaped ? sigd__escape(*escape, escape) : 1;
        if (out) out[count] = escape[place->part];
        if (++place->part == length) place->part = 0, place->at++;
        if (place->at == piece->size) place->at = 0, place->piece++;
    }
    return count;
}

static void sigd__add(struct sigd *s, const char *at, size_t size, int escaped) {
    struct sigd_piece piece = {at, (uint32_t)size & 0x7FFFFFFF, escaped ? 1u : 0u};
    if (size) s->pieces[s->piece_count++] = piece;
}

/* Adds to the message, unless `text` is NULL. %r: the text as it is; %e: escaped; %s: escaped, and a copy is kept. */
static void sigd__put(struct sigd *s, const char *format, const char *text) {
    size_t size = strcspn(format, "%");
    char kind = format[size] ? format[size + 1] : 0, *copy = s->head + s->head_size;
    if (!text) return;
    if (kind == 's') s->head_size += (uint32_t)strlen(text) + 1, text = strcpy(copy, text);
    sigd__add(s, format, size, 0);
    if (!kind) return;
    sigd__add(s, text, strlen(text), kind != 'r');
    sigd__add(s, format + size + 2, strlen(format + size + 2), 0);
}

static void sigd__put_number(struct sigd *s, const char *format, uint32_t number) {
    char digits[11];
    *sigd__digits(digits, number) = 0;
    sigd__put(s, format, number ? digits : NULL);
}

static void sigd__open(struct sigd *s, const char *type, uint32_t ref) {
    s->piece_count = 0;
    s->head_size = 4; /* a stream's length */
    sigd__add(s, s->head, sigd__is_udp(s) ? 0 : 4, 0);
    sigd__put(s, "{\"type\":\"%r\"", type);
    sigd__put_number(s, ",\"ref\":\"%s\"", ref);
}

static int sigd__close(struct sigd *s, uint32_t ref) { /* lets it go; 0: it is too long */
    struct sigd_place start = {0, 0, 0};
    sigd__put(s, "}", "");
    s->place = start;
    s->going_ref = ref;
    s->going_size = (uint32_t)sigd__read(s, &start, NULL, SIZE_MAX) - (sigd__is_udp(s) ? 0 : 4);
    if (s->going_size > s->link.max_frame) s->going_size = 0;
    for (int i = 0; i < 4; i++) s->head[i] = (char)(s->going_size >> (24 - 8 * i) & 0xFF);
    return s->going_size != 0;
}

static void sigd__put_register(struct sigd *s) {
    const struct sigd_config *c = &s->config;
    uint32_t most = sigd__least(c->buffer_size, sigd__is_udp(s) ? SIGD_MAX_DATAGRAM_MESSAGE : SIGD_MAX_FRAME);
    sigd__put_number(s, ",\"maxFrame\":%s", most);
    sigd__put_number(s, ",\"keepaliveMs\":%s", c->keepalive_ms);
    sigd__put(s, ",\"id\":\"%e\"", *s->id ? s->id : NULL);
    if (sigd__is_udp(s) && !s->link.linked) {
        sigd__put(s, ",\"nonce\":\"%r\"", s->link.nonce);
        sigd__put(s, ",\"pad\":\"what is shorter than the answer has no answer"
                     "what is shorter than the answer has no answer\"", "");
        if (!*s->link.cookie) return;
        sigd__put(s, ",\"cookie\":\"%r\"", s->link.cookie);
    }
    sigd__put(s, ",\"user\":\"%e\"", c->user);
    sigd__put(s, ",\"token\":\"%e\"", sigd__is_udp(s) && c->user ? NULL : c->token);
    sigd__put(s, ",\"jwt\":\"%e\"", c->jwt);
    sigd__put(s, ",\"meta\":%r", c->meta);
}

int32_t sigd_say(struct sigd *s, const char *type, const char *to, const char *session, const char *rest_a,
                 const char *a, const char *rest_b, const char *b) {
    if (!sigd_is_ready(s)) return SIGD_NOT_NOW;
    if ((to && strlen(to) > SIGD_MAX_NAME) || (session && strlen(session) > SIGD_MAX_NAME)) return SIGD_BAD_NAME;
    s->last_ref = s->last_ref % INT32_MAX + 1;
    sigd__open(s, type, s->last_ref);
    sigd__put(s, ",\"to\":\"%s\"", to);
    sigd__put(s, ",\"session\":\"%s\"", session);
    sigd__put(s, rest_a, a);
    sigd__put(s, rest_b, b);
    return sigd__close(s, s->last_ref) ? (int32_t)s->last_ref : SIGD_TOO_LARGE;
}

/* -- Datagrams that carry no message, and the end of a link */
/* Sends what stands in `scratch`, with a mac where there is to be one. What is not taken is lost, as on its way. */
static void sigd__send_sealed(struct sigd *s, char *end) {
    struct sigd_link *l = &s->link;
    const char *token = s->config.token;
    size_t size = (size_t)(end - s->scratch);
    if (sigd__has_mac(s) && (l->linked || *l->cookie)) {
        *end++ = ' ';
        if (l->linked) sigd__mac(l->secret, sizeof l->secret, "C", s->scratch, size, end);
        else memcpy(l->secret, sigd__mac(token, strlen(token), "R", s->scratch, size, end), sizeof l->secret);
        size += SIGD_MAC_LETTERS + 1;
    }
    s->config.send(s->config.context, s->scratch, size);
}

static char *sigd__head(struct sigd *s, char kind, const char *before, const uint32_t *numbers) { /* of a datagram */
    char *at = s->scratch;
    *at++ = kind;
    *at++ = ' ';
    at = sigd__copy(at, s->link.cid, sizeof s->link.cid);
    for (; *before; before++) *at++ = *before, at = sigd__digits(at, *numbers++);
    return at;
}

static void sigd__send(struct sigd *s, char kind, const uint32_t *number, const char *rest) {
    sigd__send_sealed(s, sigd__copy(sigd__head(s, kind, number ? " " : "", number), rest, strlen(rest)));
}

static void sigd__send_ack(struct sigd *s) {
    if (s->link.ack_due) sigd__send(s, 'A', &s->link.seen, " 0"), s->link.ack_due = 0;
}

static void sigd__tell(struct sigd *s, enum sigd_type type) { /* of the message that was on its way */
    struct sigd_received received;
    memset(&received, 0, sizeof received);
    received.type = type;
    received.ref = s->going_size ? s->going_ref : 0;
    s->going_size = 0;
    if (received.ref) s->config.heard(s->config.context, &received);
}

static void sigd__lose(struct sigd *s, const char *why, int again) {
    if (s->link.linked) sigd__send_ack(s), sigd__send(s, 'X', NULL, "");
    if (s->state >= SIGD_STATE_REGISTERED && s->now - s->link.registered_at >= SIGD_STABLE_MS) s->failures = 0;
    uint32_t most = sigd__least(SIGD_SHORTEST_PAUSE_MS << s->failures, SIGD_LONGEST_PAUSE_MS);
    if (s->failures < SIGD_MOST_DOUBLINGS) s->failures++;
    s->due = s->now + sigd__least(s->hold_ms, SIGD_LONGEST_HOLD_MS) + s->config.random(s->config.context) % (most + 1);
    if (s->state == SIGD_STATE_LEAVING) why = "left", again = 0;
    s->state = again ? SIGD_STATE_WAITING : SIGD_STATE_ENDED;
    s->hold_ms = 0;
    s->why = why;
    memset(&s->link, 0, sizeof s->link);
    sigd__tell(s, SIGD_TYPE_UNSENT);
}

static int sigd__has_next(struct sigd *s) { /* to send: the caller's message, or else what is due of ours */
    static const char types[][11] = {"register", "pong", "ping", "unregister"};
    for (int i = 0; i < 4 && !s->going_size; i++) {
        if (!(s->link.due >> i & 1)) continue;
        s->link.due &= (uint8_t)~(1 << i);
        sigd__open(s, types[i], 0);
        if (i == 0) sigd__put_register(s);
        if (!sigd__close(s, 0)) sigd__lose(s, "too long", 0);
    }
    return s->going_size != 0;
}

static void sigd__alive(struct sigd *s) { /* how long from now until a ping, and until the link is given up */
    struct sigd_link *l = &s->link;
    if (s->state != SIGD_STATE_REGISTERED) return;
    uint32_t silent_ms = l->keepalive_ms > SIGD_KEEPALIVE_MS ? l->keepalive_ms / 5 * 4 : SIGD_SILENT_MS;
    l->ping_open = 0;
    l->ping_at = s->now + (sigd__is_udp(s) ? silent_ms : l->keepalive_ms);
    s->due = s->now + l->keepalive_ms / 2 * (SIGD_SILENCE_PERCENT / 50);
}

/* -- What the server says */
static void sigd__hear_error(struct sigd *s, struct sigd_received *error, char reconnect) {
    static const uint8_t rules[] = {SIGD_CODE_RULES};
    const char *why = SIGD_CODE_TEXTS;
    int code = 0;
    for (; *why && error->code_text && strcmp(why, error->code_text) != 0; code++) why = sigd__following(why);
    if (!*why) code = 0;
    error->code = (enum sigd_code)code;
    int greets = s->state == SIGD_STATE_REGISTERING, next = rules[code] / 2, closes = greets || rules[code] % 2;
    int never = reconnect == 'f' || code == SIGD_CODE_AUTH_EXPIRED || (next == SIGD_NEXT_MEND && greets) ||
                (next == SIGD_NEXT_NEVER && reconnect != 't' && !error->wait_ms);
    s->config.heard(s->config.context, error);
    if (closes || never || !code) s->hold_ms = error->wait_ms;
    if (closes || never) sigd__lose(s, why, !never);
}

static void sigd__hear(struct sigd *s) {
    const char *kind = SIGD_TYPE_TEXTS; /* of each its name, the member with an ID, and the one that is the body */
    struct sigd_received r;
    struct sigd_text type = sigd__member(s, "type"), reconnect = sigd__member(s, "reconnect");
    uint32_t max_frame = sigd__number_of(s, "maxFrame"), keepalive_ms = sigd__number_of(s, "keepaliveMs");
    int i = 0;
    for (; *kind && !sigd__is(type, kind); i++) kind = sigd__following(sigd__following(sigd__following(kind)));
    if (!*kind) return; /* `pong`, or of a newer server */
    memset(&r, 0, sizeof r);
    r.type = (enum sigd_type)i;
    r.ref = sigd__number_of(s, "ref");
    r.wait_ms = sigd__number_of(s, "retryAfterMs") | sigd__number_of(s, "reconnectAfterMs"); /* one at most */
    r.expires_ms = sigd__number_of(s, "expiresMs");
    kind = sigd__following(kind);
    struct sigd_text peer = sigd__member(s, kind), body = sigd__member(s, sigd__following(kind));
    struct sigd_text session = sigd__member(s, "session"), code = sigd__member(s, "code");
    r.peer = sigd_unescape(&peer);
    r.session = sigd_unescape(&session);
    r.code_text = sigd_unescape(&code);
    if (r.type != SIGD_TYPE_MESSAGE) sigd_unescape(&body); /* else it is JSON, even where it is a string */
    r.body = body.at;
    r.body_size = body.size;
    if (r.body) r.body[r.body_size] = 0;
    if (r.type <= SIGD_TYPE_MESSAGE && (!r.peer || (!r.body && r.type != SIGD_TYPE_BYE))) return;
    if (r.type == SIGD_TYPE_REGISTERED && r.peer && peer.size <= SIGD_MAX_NAME) {
        memcpy(s->id, r.peer, peer.size + 1);
        s->link.max_frame = max_frame;
        s->link.keepalive_ms = sigd__least(sigd__most(keepalive_ms, SIGD_MIN_KEEPALIVE_MS), SIGD_MAX_KEEPALIVE_MS);
        if (s->state == SIGD_STATE_REGISTERING) s->state = SIGD_STATE_REGISTERED, s->link.registered_at = s->now;
        sigd__alive(s);
    }
    if (r.type == SIGD_TYPE_PING) s->link.due |= SIGD_DUE_PONG;
    if (r.type == SIGD_TYPE_ERROR) sigd__hear_error(s, &r, reconnect.at ? *reconnect.at : 0);
    else if (r.type != SIGD_TYPE_PING) s->config.heard(s->config.context, &r);
    if (r.type == SIGD_TYPE_GOING_AWAY) s->hold_ms = r.wait_ms, sigd__lose(s, "going away", 1);
}

/* -- Streams: four bytes of length, the most significant first, and a message; before all that, an error as a line */
static void sigd__feed_stream(struct sigd *s, const char *at, size_t size) {
    struct sigd_link *l = &s->link;
    for (; size && s->state >= SIGD_STATE_REGISTERING; at++, size--) {
        if (l->prefix_bytes == 0) l->length = 0, l->in_line = *at == '{'; /* no length begins with that */
        if (l->prefix_bytes < 4 && !l->in_line) {
            l->length = l->length << 8 | (uint8_t)*at;
            if (++l->prefix_bytes == 4 && l->length - 1 >= s->config.buffer_size) sigd__lose(s, "no frame", 1);
        } else if (l->filled < s->config.buffer_size) {
            l->prefix_bytes = 4;
            s->config.buffer[l->filled++] = *at;
            if (l->in_line ? *at == '\n' : l->filled == l->length) sigd__hear(s), l->filled = l->prefix_bytes = 0;
        } else {
            sigd__lose(s, "no frame", 1);
        }
    }
}

static void sigd__send_stream(struct sigd *s) {
    while (sigd__has_next(s)) {
        struct sigd_place place = s->place;
        size_t size = sigd__read(s, &place, s->scratch, sizeof s->scratch);
        int32_t taken = size ? s->config.send(s->config.context, s->scratch, size) : 0;
        if (taken < 0) sigd__lose(s, "lost", 1);
        if (size == 0) sigd__tell(s, SIGD_TYPE_SENT);
        else if (taken <= 0) return;
        sigd__read(s, &s->place, NULL, (size_t)taken);
    }
}

/* -- Datagrams: one of ours is on its way at a time, and what comes ahead of its turn is dropped, to come again */
static void sigd__ping(struct sigd *s) {
    struct sigd_link *l = &s->link;
    l->ping_at = sigd__is_udp(s) ? s->now + SIGD_REPING_MS : s->due;
    if (sigd__is_udp(s) && !l->ping_open) l->ping_open = l->ping + 1;
    if (sigd__is_udp(s)) l->ping++, sigd__send(s, 'P', &l->ping, " 0123456789abcdef");
    else l->due |= SIGD_DUE_PING;
}

static void sigd__send_going(struct sigd *s) { /* a register or a slice, the same bytes until there is an answer */
    struct sigd_link *l = &s->link;
    struct sigd_place place = s->place;
    char *at = s->scratch;
    if (l->tries && !sigd__reached(s->now, l->resend_at)) return;
    if (!l->tries) {
        l->first_sent = s->now;
        l->seq_ack = l->seen;
        l->seq += l->linked;
        l->mid += l->linked && l->slice == 0;
    }
    if (l->linked) {
        uint32_t n[] = {l->seq, l->seq_ack, l->mid, l->slice, (s->going_size - 1) / SIGD_SLICE_BYTES + 1};
        at = sigd__head(s, 'D', "    /", n);
        *at++ = ' ';
        if (l->seq_ack == l->seen) l->ack_due = 0;
    }
    sigd__send_sealed(s, at + sigd__read(s, &place, at, SIGD_SLICE_BYTES));
    l->resend_at = s->now + sigd__least(l->rto_ms << l->tries, SIGD_MOST_RTO_MS);
    l->tries += l->tries < 5;
}

/* Takes numbers, with what stands before each; what is behind them, or NULL. */
static const char *sigd__numbers(const char *at, const char *end, const char *before, uint32_t *numbers) {
    for (; *before; before++) {
        if (end - at < 2 || *at++ != *before || *at < '0' || *at > '9') return NULL;
        *numbers++ = sigd__number(&at, end);
    }
    return at;
}

static void sigd__acknowledged(struct sigd *s, uint32_t ack) {
    struct sigd_link *l = &s->link;
    uint32_t rtt = s->now - l->first_sent, smooth = l->rtt_8 / 8;
    if (!l->tries || ack != l->seq) return;
    if (l->tries == 1) { /* RFC 6298. Of one sent again nobody knows which was acknowledged */
        if (l->rtt_8 == 0) l->rtt_8 = rtt * 8, l->rttvar_4 = rtt * 2, smooth = rtt;
        l->rtt_8 += rtt - smooth;
        l->rttvar_4 += (rtt > smooth ? rtt - smooth : smooth - rtt) - l->rttvar_4 / 4;
        l->rto_ms = sigd__most(l->rtt_8 / 8 + l->rttvar_4, SIGD_LEAST_RTO_MS);
    }
    l->tries = 0;
    sigd__alive(s);
    sigd__read(s, &s->place, NULL, SIGD_SLICE_BYTES);
    if (++l->slice * SIGD_SLICE_BYTES >= s->going_size) l->slice = 0, sigd__tell(s, SIGD_TYPE_SENT);
}

static void sigd__feed_slice(struct sigd *s, const char *at, const char *end) {
    struct sigd_link *l = &s->link;
    uint32_t n[5]; /* seq, ack, mid, slice, slices */
    if ((at = sigd__numbers(at, end, "    /", n)) == NULL || end - at < 2 || *at++ != ' ') return;
    size_t size = (size_t)(end - at);
    sigd__acknowledged(s, n[1]);
    l->ack_due |= n[0] <= l->seen; /* ours got lost */
    if (n[0] != l->seen + 1 || n[2] != l->mid_in + 1 || n[3] != l->slice_in || n[3] >= n[4]) return;
    if (size > s->config.buffer_size - l->filled) return;
    memcpy(s->config.buffer + l->filled, at, size);
    l->filled += (uint32_t)size;
    l->seen++;
    l->ack_due = 1;
    sigd__alive(s);
    if (++l->slice_in < n[4]) return;
    l->mid_in++;
    sigd__hear(s);
    l->filled = l->slice_in = 0;
}

static void sigd__feed_greeting(struct sigd *s, const char *data, size_t size) { /* JSON, and perhaps a mac */
    struct sigd_link *l = &s->link;
    const char *token = s->config.token;
    uint8_t key[sizeof l->secret] = {0};
    char first[] = "sigd link 1\n0123456789abcdef\n";
    int sealed = sigd__has_mac(s) && size > SIGD_MAC_LETTERS + 1 && data[size - 1] != '}', trusted = !sigd__has_mac(s);
    if (sealed) size -= SIGD_MAC_LETTERS + 1;
    if (size > s->config.buffer_size) return;
    memcpy(s->config.buffer, data, l->filled = (uint32_t)size);
    struct sigd_text type = sigd__member(s, "type"), cookie = sigd__member(s, "cookie"), cid = sigd__member(s, "cid");
    if (!sigd__is(sigd__member(s, "nonce"), l->nonce) || type.size < 3) return;
    if (type.at[1] == 'c' && cookie.size > 2 && cookie.size < sizeof l->cookie + 2) {
        *sigd__copy(l->cookie, cookie.at + 1, cookie.size - 2) = 0; /* a challenge */
        s->going_size = l->tries = 0;
        l->due |= SIGD_DUE_REGISTER;
    } else if (type.at[1] == 'r' && cid.size == sizeof l->cid + 2) { /* registered */
        memcpy(l->cid, memcpy(first + 12, cid.at + 1, sizeof l->cid), sizeof l->cid);
        if (sealed) sigd__hmac(token, strlen(token), first, (const char *)l->secret, sizeof l->secret, key);
        if (sealed) trusted = sigd__verifies(key, sizeof key, "S", data, size);
        if (!trusted) return;
        memcpy(l->secret, key, sizeof key);
        s->going_size = l->tries = 0;
        l->linked = 1;
        sigd__hear(s);
        l->filled = 0;
    } else if (type.at[1] == 'e') { /* an error; one that anybody may have sent has to wait */
        if (sealed) trusted = sigd__verifies(token, strlen(token), "E", data, size);
        if (trusted) sigd__hear(s);
        else if (!sealed && !l->doubted && sigd__is(sigd__member(s, "code"), "auth-failed"))
            l->doubted = 1, s->due = s->now + SIGD_DOUBT_MS;
    }
}

static void sigd__feed_datagram(struct sigd *s, const char *data, size_t size) {
    struct sigd_link *l = &s->link;
    char kind = size ? *data : 0, echo[17 + 1] = "";
    uint32_t n = 0;
    if (size > SIGD_MAX_DATAGRAM || size < 2 + sizeof l->cid) return;
    if (!l->linked && kind == '{') sigd__feed_greeting(s, data, size);
    if (!l->linked || data[1] != ' ' || memcmp(data + 2, l->cid, sizeof l->cid) != 0) return;
    if (kind == 'Z' && !sigd__reached(s->now + SIGD_HINT_MS, s->due)) /* who knows who sent it */
        s->due = s->now + SIGD_HINT_MS, l->ping_at = s->now;
    size_t mac_bytes = sigd__has_mac(s) ? SIGD_MAC_LETTERS + 1 : 0;
    if (size < 2 + sizeof l->cid + mac_bytes) return;
    if (mac_bytes && !sigd__verifies(l->secret, sizeof l->secret, "S", data, size - mac_bytes)) return;
    const char *at = data + 2 + sizeof l->cid, *end = data + size - mac_bytes, *rest = sigd__numbers(at, end, " ", &n);
    if (kind == 'D') sigd__feed_slice(s, at, end);
    if (kind == 'A' && rest) sigd__acknowledged(s, n);
    if (kind == 'Q' && rest == end && l->ping_open && n >= l->ping_open && n <= l->ping) sigd__alive(s);
    if (kind == 'P' && rest && n >= l->ping_seen) {
        if (n > l->ping_seen) sigd__alive(s);
        l->ping_seen = n;
        sigd__send(s, 'Q', &n, "");
    }
    if (kind == 'C' && end - at == 17) sigd__send(s, 'C', NULL, (sigd__copy(echo, at, 17), echo));
    if (kind == 'X' && at == end) sigd_lost(s, s->now);
}

/* -- The life of a client */
void sigd_init(struct sigd *s, const struct sigd_config *config) {
    memset(s, 0, sizeof *s);
    s->config = *config;
    if (config->id) strncpy(s->id, config->id, SIGD_MAX_NAME);
}

void sigd_start(struct sigd *s, uint32_t now) {
    if (s->state != SIGD_STATE_ENDED) return;
    s->state = SIGD_STATE_WAITING;
    s->failures = 0;
    s->now = s->due = now;
}

void sigd_connected(struct sigd *s, uint32_t now) {
    struct sigd_link *l = &s->link;
    if (s->state != SIGD_STATE_CONNECTING) return;
    s->state = SIGD_STATE_REGISTERING;
    s->now = now;
    for (int i = 0; i < 16; i++) l->nonce[i] = (char)('a' + s->config.random(s->config.context) % 16);
    l->max_frame = sigd__is_udp(s) ? SIGD_SLICE_BYTES : SIGD_FIRST_FRAME;
    l->rto_ms = SIGD_FIRST_RTO_MS;
    l->has_mac = s->config.udp && s->config.user && s->config.token;
    l->due = SIGD_DUE_REGISTER;
}

void sigd_lost(struct sigd *s, uint32_t now) {
    s->now = now;
    s->link.linked = 0; /* no farewell */
    if (s->state >= SIGD_STATE_CONNECTING) sigd__lose(s, "lost", 1);
}

void sigd_renew(struct sigd *s, const char *user, const char *token) {
    int shows = s->state == SIGD_STATE_REGISTERED && !s->link.has_mac && !(s->config.udp && user && token);
    s->config.user = user;
    s->config.token = token;
    if (shows) s->link.due |= SIGD_DUE_REGISTER;
    else if (s->state >= SIGD_STATE_REGISTERING) sigd__lose(s, "renewed", 1);
}

void sigd_unregister(struct sigd *s, uint32_t now) {
    int asks = s->state == SIGD_STATE_REGISTERED && !sigd__is_udp(s);
    s->now = now;
    if (!asks) sigd__lose(s, "left", 0);
    else s->state = SIGD_STATE_LEAVING, s->due = now + SIGD_LEAVE_MS, s->link.due |= SIGD_DUE_UNREGISTER;
}

void sigd_feed(struct sigd *s, const void *data, size_t size, uint32_t now) {
    s->now = now;
    if (s->state < SIGD_STATE_REGISTERING) return;
    if (!sigd__is_udp(s)) sigd__alive(s), sigd__feed_stream(s, (const char *)data, size);
    else sigd__feed_datagram(s, (const char *)data, size);
}

static void sigd__time_is_up(struct sigd *s) {
    static const char refusal[] = "{\"type\":\"error\",\"code\":\"auth-failed\",\"reconnect\":true}";
    const char *why = s->state == SIGD_STATE_REGISTERED ? "silence" : "no answer";
    if (s->state == SIGD_STATE_WAITING) s->state = SIGD_STATE_CONNECTING, s->due = s->now + SIGD_CONNECT_MS;
    else if (!sigd__is_udp(s) || !s->link.doubted || s->link.linked) sigd__lose(s, why, 1);
    else { /* perhaps forged: back after a while */
        s->failures = SIGD_MOST_DOUBLINGS;
        memcpy(s->config.buffer, refusal, s->link.filled = sizeof refusal - 1);
        sigd__hear(s);
    }
}

uint32_t sigd_poll(struct sigd *s, uint32_t now) {
    const struct sigd_link *l = &s->link;
    int unheard = l->linked && l->tries && now - l->first_sent >= SIGD_UNACKNOWLEDGED_MS;
    s->now = now;
    if (s->state != SIGD_STATE_ENDED && (unheard || sigd__reached(now, s->due))) sigd__time_is_up(s);
    if (s->state == SIGD_STATE_REGISTERED && sigd__reached(now, l->ping_at)) sigd__ping(s);
    if (s->state >= SIGD_STATE_REGISTERING && !sigd__is_udp(s)) sigd__send_stream(s);
    else if (s->state >= SIGD_STATE_REGISTERING && sigd__has_next(s)) sigd__send_going(s);
    if (sigd__is_udp(s)) sigd__send_ack(s);
    if (s->state == SIGD_STATE_ENDED) return SIGD_FOREVER;
    uint32_t next = s->due;
    if (s->state == SIGD_STATE_REGISTERED && sigd__reached(next, l->ping_at)) next = l->ping_at;
    if (s->going_size && sigd__reached(next, now + SIGD_STUCK_MS)) next = now + SIGD_STUCK_MS;
    return sigd__reached(now, next) ? 0 : next - now;
}

#endif /* SIGD_IMPLEMENTATION */
