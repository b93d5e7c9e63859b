/* What the load generators say: bytes that grow, and and the candidate that peers send each other. */
#ifndef BODIES_H
#define BODIES_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

/* ---- text: bytes that grow ---- */

struct text {
    char *at;
    size_t len, room;
};

static void add_bytes(struct text *t, const void *bytes, size_t n)
{
    if (t->len + n + 1 > t->room) {
        t->room = 2 * (t->len + n + 1);
        t->at = realloc(t->at, t->room);
        if (!t->at)
            die("out of memory");
    }
    memcpy(t->at + t->len, bytes, n);
    t->len += n;
    t->at[t->len] = '\0';
}

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof line)
        die("line too long");
    add_bytes(t, line, (size_t)n);
}

/* ---- what peers say to each other ---- */

struct body {
    const char *type;      /* "candidate" or "offer" */
    const char *member;    /* the member that carries it */
    struct text value;     /* its JSON */
    const char *probe;     /* near its end: seen once per connection, the message is believed whole */
};

static struct body candidate_body(void)
{
    struct body b = {.type = "candidate", .member = "candidate", .probe = "\"sdpMLineIndex\":0"};
    add(&b.value, "{\"candidate\":\"candidate:842163049 1 udp 1677729535 203.0.113.77 46154 typ srflx "
                  "raddr 10.0.0.17 rport 46154 generation 0 ufrag EEtu network-cost 999\","
                  "\"sdpMid\":\"0\",\"sdpMLineIndex\":0}");
    return b;
}

/* sigd's message; for every other relay but PeerJS, which has its own JSON, these same bytes are the payload. */
static struct text sigd_json(const char *to, const struct body *b)
{
    struct text json = {0};
    add(&json, "{\"type\":\"%s\",\"to\":\"%s\",\"%s\":", b->type, to, b->member);
    add_bytes(&json, b->value.at, b->value.len);
    add(&json, "}");
    return json;
}

#endif
