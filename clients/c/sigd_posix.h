/* sigd_posix.h: the socket, the clock and the random numbers for sigd.h on POSIX. Include it before anything else.
 *
 *     struct sigd_posix link;
 *     struct sigd_config config = {...};             without send, random, context and udp
 *     sigd_posix_init(&link, &s, &config, "tcp://127.0.0.1:7337")
 *     while (sigd_posix_step(&link, 1000)) ...        takes what comes, sends, connects again; waits at most 1 s
 *
 * What goes wrong is told on standard error, in words.
 */
#ifndef SIGD_POSIX_H
#define SIGD_POSIX_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "sigd.h"

struct sigd_posix {
    struct sigd *sigd;
    int fd, is_connecting; /* fd -1: there is no socket */
    unsigned attempts;
    char host[256], port[6];
};

static uint32_t sigd_posix_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint32_t)((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

static uint32_t sigd_posix_random(void *context)
{
    uint32_t number = 0;
    FILE *file = fopen("/dev/urandom", "rb");
    (void)context;
    if (file == NULL || fread(&number, sizeof number, 1, file) != 1) {
        perror("sigd: /dev/urandom");
        abort(); /* guessable nonces are worse than none */
    }
    fclose(file);
    return number;
}

static int32_t sigd_posix_send(void *context, const void *data, size_t size)
{
    const struct sigd_posix *link = (const struct sigd_posix *)context;
    ssize_t sent = send(link->fd, data, size, MSG_NOSIGNAL);
    if (sent >= 0)
        return (int32_t)sent;
    /* What a datagram met on its way is not for certain: it is sent again anyway. */
    return link->sigd->config.udp || errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
}

/* Takes tcp://HOST[:PORT] or udp://HOST[:PORT], an IPv6 address in brackets; 0 if `url` is none of these. */
static int sigd_posix_init(struct sigd_posix *link, struct sigd *s, const struct sigd_config *config, const char *url)
{
    struct sigd_config whole = *config;
    const char *host = url + 6, *end, *port;
    int is_udp = strncmp(url, "udp://", 6) == 0;
    memset(link, 0, sizeof *link);
    if (!is_udp && strncmp(url, "tcp://", 6) != 0)
        return 0;
    host += *host == '[';
    end = host + strcspn(host, host[-1] == '[' ? "]" : ":");
    port = end + (*end == ']');
    if (end == host || (size_t)(end - host) >= sizeof link->host)
        return 0;
    if (strlen(port) > sizeof link->port || (*port && *port != ':'))
        return 0;
    memcpy(link->host, host, (size_t)(end - host));
    snprintf(link->port, sizeof link->port, "%d", SIGD_PORT);
    if (*port)
        strcpy(link->port, port + 1);
    link->sigd = s;
    link->fd = -1;
    whole.udp = is_udp;
    whole.context = whole.context ? whole.context : link;
    whole.send = sigd_posix_send;
    whole.random = sigd_posix_random;
    sigd_init(s, &whole);
    return 1;
}

/* Says what went wrong, and where; the client tries again. */
static void sigd_posix_fails(struct sigd_posix *link, const char *why)
{
    fprintf(stderr, "sigd: %s://%s port %s: %s\n", link->sigd->config.udp ? "udp" : "tcp", link->host, link->port, why);
    sigd_lost(link->sigd, sigd_posix_now());
}

/* One address at a time, the next one with each attempt. Names are looked up here, which may take a while. */
static void sigd_posix_connect(struct sigd_posix *link)
{
    struct addrinfo hints, *found = NULL, *one;
    unsigned count = 0, at;
    int on = 1, fault;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = link->sigd->config.udp ? SOCK_DGRAM : SOCK_STREAM;
    fault = getaddrinfo(link->host, link->port, &hints, &found);
    if (fault) {
        sigd_posix_fails(link, gai_strerror(fault));
        return;
    }
    for (one = found; one; one = one->ai_next)
        count++;
    at = link->attempts++ % count;
    for (one = found; at--;)
        one = one->ai_next;
    link->fd = socket(one->ai_family, one->ai_socktype, one->ai_protocol);
    if (link->fd >= 0) {
        fcntl(link->fd, F_SETFL, O_NONBLOCK);
        setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        link->is_connecting = connect(link->fd, one->ai_addr, one->ai_addrlen) == 0 || errno == EINPROGRESS;
    }
    if (!link->is_connecting)
        sigd_posix_fails(link, strerror(errno));
    freeaddrinfo(found);
}

static void sigd_posix_close_unused(struct sigd_posix *link)
{
    if (link->fd >= 0 && sigd_state(link->sigd) <= SIGD_STATE_WAITING) {
        close(link->fd);
        link->fd = -1;
        link->is_connecting = 0;
    }
}

static void sigd_posix_receive(struct sigd_posix *link)
{
    struct sigd *s = link->sigd;
    ssize_t size = recv(link->fd, s->scratch, sizeof s->scratch, 0);
    if (size > 0)
        sigd_feed(s, s->scratch, (size_t)size, sigd_posix_now());
    else if (!s->config.udp && size == 0 && sigd_state(s) == SIGD_STATE_LEAVING)
        sigd_lost(s, sigd_posix_now()); /* as it should be */
    else if (!s->config.udp && size == 0)
        sigd_posix_fails(link, "the server has closed the connection");
    else if (!s->config.udp && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
        sigd_posix_fails(link, strerror(errno));
}

/* Does what there is to do, and waits for more, at most so many milliseconds; 0: the client has ended. */
static int sigd_posix_step(struct sigd_posix *link, int most_ms)
{
    struct sigd *s = link->sigd;
    uint32_t wait = sigd_poll(s, sigd_posix_now());
    sigd_posix_close_unused(link);
    if (sigd_state(s) == SIGD_STATE_CONNECTING && link->fd < 0)
        sigd_posix_connect(link);
    sigd_posix_close_unused(link);
    struct pollfd waits = {link->fd, POLLIN, 0};
    if (link->is_connecting || sigd_is_stuck(s))
        waits.events |= POLLOUT;
    if (poll(&waits, 1, wait < (uint32_t)most_ms ? (int)wait : most_ms) > 0 && link->is_connecting) {
        int fault = 0;
        socklen_t size = sizeof fault;
        link->is_connecting = 0;
        if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &fault, &size) == 0 && fault == 0)
            sigd_connected(s, sigd_posix_now());
        else
            sigd_posix_fails(link, strerror(fault ? fault : errno));
    } else if (waits.revents & ~POLLOUT) {
        sigd_posix_receive(link);
    }
    sigd_posix_close_unused(link);
    return sigd_state(s) != SIGD_STATE_ENDED;
}

#endif /* SIGD_POSIX_H */
