/* The C client for ctypes: a device whose socket, clock and random numbers are the test's. */
#define SIGD_IMPLEMENTATION
#include "sigd.h"

#include <stdlib.h>

typedef int32_t (*send_function)(const char *data, size_t size);
typedef uint32_t (*random_function)(void);
typedef void (*heard_function)(int type, int code, uint32_t ref, const char *peer, const char *session,
                               const char *body, size_t size, const char *code_text, uint32_t wait_ms,
                               uint32_t expires_ms);

struct device {
    struct sigd s;
    send_function send;
    random_function random;
    heard_function heard;
    char *in; /* what it was fed, in memory of its own: to read or write past the end of it is found */
};

static int32_t device_send(void *context, const void *data, size_t size)
{
    return ((struct device *)context)->send((const char *)data, size);
}

static uint32_t device_random(void *context) { return ((struct device *)context)->random(); }

static void device_heard(void *context, const struct sigd_received *r)
{
    struct device *device = (struct device *)context;
    device->heard(r->type, r->code, r->ref, r->peer, r->session, r->body, r->body_size, r->code_text, r->wait_ms,
                  r->expires_ms);
}

struct device *device_new(const char *id, const char *user, const char *token, const char *jwt, const char *meta,
                          uint32_t keepalive_ms, int udp, uint32_t buffer_size, send_function send,
                          random_function random, heard_function heard)
{
    struct device *device = (struct device *)calloc(1, sizeof *device);
    struct sigd_config config = {id,          user,   token,       jwt,           meta,        keepalive_ms, udp, NULL,
                                 buffer_size, device, device_send, device_random, device_heard};
    config.buffer = (char *)malloc(buffer_size);
    device->send = send;
    device->random = random;
    device->heard = heard;
    sigd_init(&device->s, &config);
    return device;
}

void device_free(struct device *device)
{
    free(device->s.config.buffer);
    free(device);
}

void device_start(struct device *device, uint32_t now) { sigd_start(&device->s, now); }
void device_connected(struct device *device, uint32_t now) { sigd_connected(&device->s, now); }
void device_lost(struct device *device, uint32_t now) { sigd_lost(&device->s, now); }
void device_unregister(struct device *device, uint32_t now) { sigd_unregister(&device->s, now); }
uint32_t device_poll(struct device *device, uint32_t now) { return sigd_poll(&device->s, now); }
int device_state(const struct device *device) { return sigd_state(&device->s); }
const char *device_why(const struct device *device) { return device->s.why; }
const char *device_id(const struct device *device) { return sigd_id(&device->s); }
int device_is_ready(const struct device *device) { return sigd_is_ready(&device->s); }
int device_is_stuck(const struct device *device) { return sigd_is_stuck(&device->s); }
uint32_t device_pieces(const struct device *device) { return device->s.piece_count; }
uint32_t device_head(const struct device *device) { return device->s.head_size; }
void device_renew(struct device *device, const char *user, const char *token) { sigd_renew(&device->s, user, token); }

void device_feed(struct device *device, const char *data, size_t size, uint32_t now)
{
    char *copy = (char *)malloc(size ? size : 1);
    memcpy(copy, data, size);
    sigd_feed(&device->s, copy, size, now);
    free(copy);
}

int32_t device_offer(struct device *device, const char *to, const char *session, const char *sdp)
{
    return sigd_offer(&device->s, to, session, sdp);
}

int32_t device_candidate(struct device *device, const char *to, const char *session, const char *line, const char *mid)
{
    return sigd_candidate(&device->s, to, session, line, mid);
}

int32_t device_end_of_candidates(struct device *device, const char *to, const char *session)
{
    return sigd_end_of_candidates(&device->s, to, session);
}

int32_t device_bye(struct device *device, const char *to, const char *session, const char *reason)
{
    return sigd_bye(&device->s, to, session, reason);
}

int32_t device_message(struct device *device, const char *to, const char *session, const char *json)
{
    return sigd_message(&device->s, to, session, json);
}

int32_t device_ask_ice_servers(struct device *device) { return sigd_ask_ice_servers(&device->s); }

/* Where the value of a member begins in `json`, and how long it is; -1: there is none. */
long find(char *json, size_t size, const char *name, size_t *found_size)
{
    struct sigd_text found = sigd_find(json, size, name);
    *found_size = found.size;
    return found.at ? (long)(found.at - json) : -1;
}

/* Unescapes a string in its place; the size of the text, which begins behind the first quote; -1: it is no string. */
long unescape(char *json, size_t size)
{
    struct sigd_text text = {json, size};
    return sigd_unescape(&text) ? (long)text.size : -1;
}

size_t escape(char c, char *out) { return sigd__escape(c, out); }

void mac(const char *key, size_t key_size, const char *first, const char *text, size_t size, char *out)
{
    sigd__mac(key, key_size, first, text, size, out);
}

void hmac(const char *key, size_t key_size, const char *text, size_t size, uint8_t *out)
{
    sigd__hmac(key, key_size, "", text, size, out);
}
