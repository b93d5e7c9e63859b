/* What libFuzzer plays: a device on a stream or over UDP to which anything may come, and JSON.
 *
 * The first byte chooses. Of the rest each part is as long as the byte before it says; some are put into datagrams that
 * verify, since nobody guesses a mac.
 */
#define SIGD_IMPLEMENTATION
#include "sigd.h"

#include <stdio.h>
#include <stdlib.h>

static char buffer[SIGD_MIN_FRAME];
static uint32_t drawn;
static unsigned sum; /* of what was sent: so that all of it is read */
static int said; /* what the socket takes: all, some, nothing, or it breaks */

static int32_t take(void *context, const void *data, size_t size)
{
    (void)context;
    for (size_t i = 0; i < size; i++) sum += ((const uint8_t *)data)[i];
    return said % 7 == 3 ? (int32_t)size / 2 : said % 7 == 5 ? 0 : said % 31 == 30 ? -1 : (int32_t)size;
}

static uint32_t draw(void *context) { return (void)context, drawn = drawn * 1664525 + 1013904223; }

static void heard(void *context, const struct sigd_received *r)
{
    struct sigd *s = *(struct sigd **)context;
    size_t length = 0;
    if (r->peer) length += strlen(r->peer);
    if (r->session) length += strlen(r->session);
    if (r->code_text) length += strlen(r->code_text);
    if (r->body && r->body[r->body_size] != 0) abort();
    if (length > sizeof buffer) abort();
    if (r->body) {
        struct sigd_text found = sigd_find(r->body, r->body_size, "candidate");
        if (found.at && (found.at < r->body || found.at + found.size >= r->body + r->body_size)) abort();
        sigd_unescape(&found);
    }
    if (r->type == SIGD_TYPE_OFFER) sigd_answer(s, r->peer, r->session, "v=0\r\n\"\\\x01");
    if (r->type == SIGD_TYPE_REGISTERED) sigd_candidate(s, "bob", NULL, "candidate", "0");
}

static void feed(struct sigd *s, const uint8_t *data, size_t size, uint32_t now)
{
    char *copy = (char *)malloc(size + 1 + SIGD_MAC_LETTERS);
    memcpy(copy, data, size);
    if (s->config.udp && s->link.linked && size >= 2 && size < 1100) {
        if (size >= 18) memcpy(copy + 2, s->link.cid, 16);
        if (s->link.has_mac) {
            copy[size] = ' ';
            sigd__mac(s->link.secret, sizeof s->link.secret, "S", copy, size, copy + size + 1);
            size += 1 + SIGD_MAC_LETTERS;
        }
    }
    char *exact = (char *)malloc(size ? size : 1);
    memcpy(exact, copy, size);
    sigd_feed(s, exact, size, now);
    free(exact);
    free(copy);
}

/* A link, so that what follows has something to be said to. */
static void link_up(struct sigd *s, uint32_t now)
{
    static const char terms[] = "{\"type\":\"registered\",\"id\":\"cam1\",\"maxFrame\":65536,\"keepaliveMs\":30000";
    char text[300];
    if (s->config.udp) {
        s->link.has_mac = 0;
        const char *rest = ",\"nonce\":\"%s\",\"cid\":\"0123456789abcdef\"}";
        int size = snprintf(text, sizeof text, "%s", terms);
        size += snprintf(text + size, sizeof text - (size_t)size, rest, s->link.nonce);
        sigd_feed(s, text, (size_t)size, now);
        s->link.has_mac = s->config.user != NULL;
    } else {
        int size = snprintf(text + 4, sizeof text - 4, "%s}", terms);
        text[0] = text[1] = text[2] = 0;
        text[3] = (char)size;
        sigd_feed(s, text, (size_t)size + 4, now);
    }
}

static void play(int udp, int with_mac, int is_linked, const uint8_t *data, size_t size)
{
    static struct sigd s;
    static struct sigd *client = &s;
    struct sigd_config config = {"cam1", NULL,          NULL,    NULL, NULL, 0,    udp,
                                 buffer, sizeof buffer, &client, take, draw, heard};
    uint32_t now = 0xFFFFF000;
    if (with_mac) config.user = "1:cam1", config.token = "dG9rZW4=";
    sigd_init(&s, &config);
    said = 0;
    sigd_start(&s, now);
    while (size) {
        size_t part = data[0];
        int what = data[0] % 16;
        data++, size--;
        if (sigd_poll(&s, now) > 86400000u + 20000u && s.state != SIGD_STATE_ENDED) abort();
        if (s.state == SIGD_STATE_CONNECTING) {
            sigd_connected(&s, now);
            sigd_poll(&s, now);
            if (is_linked) link_up(&s, now);
        }
        if (what == 0) now += 10 * (uint32_t)part;
        if (what == 1) now += 1000 * (uint32_t)part;
        if (what == 2) sigd_offer(&s, "bob", "k3", "v=0\r\n");
        if (what == 3) said++;
        if (what == 4) part *= 5;
        if (part > size) part = size;
        feed(&s, data, part, now);
        data += part, size -= part;
    }
    sigd_poll(&s, now);
    sigd_unregister(&s, now);
    drawn = sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    if (data[0] % 8 == 7) {
        char *json = (char *)malloc(size);
        memcpy(json, data + 1, size - 1);
        struct sigd_text found = sigd_find(json, size - 1, "a");
        if (found.at && sigd_unescape(&found) && found.at[found.size] != 0) abort();
        free(json);
    } else {
        play(data[0] & 1, data[0] & 2, data[0] & 4, data + 1, size - 1);
    }
    return 0;
}
