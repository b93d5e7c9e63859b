/* What is read off around each phase: clocks, the relay's CPU and memory, and how long messages took. */
#ifndef METER_H
#define METER_H

#include "bodies.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t))
        die("clock: %s", strerror(errno));
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* ---- the relay's meter ---- */

static pid_t relay_pid;
static clockid_t relay_clock;

static void meter_attach(pid_t pid)
{
    relay_pid = pid;
    if (pid && clock_getcpuclockid(pid, &relay_clock))
        die("no process %d", (int)pid);
}

/* All threads, ended ones too, to the nanosecond: the same counter as the first field of schedstat, in one call. */
static uint64_t relay_cpu_ns(void) { return relay_pid ? clock_ns(relay_clock) : 0; }

static uint64_t own_cpu_ns(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

/* smaps_rollup counts pages; VmRSS in status is allowed to lag behind by some dozen pages per core. */
static double relay_rss_kib(void)
{
    static const char *const FILES[] = {"smaps_rollup", "status"};
    static const char *const FIELDS[] = {"Rss:", "VmRSS:"};
    for (size_t i = 0; relay_pid && i < 2; i++) {
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/%d/%s", (int)relay_pid, FILES[i]);
        FILE *f = fopen(path, "r");
        double kib = -1;
        while (f && kib < 0 && fgets(line, sizeof line, f))
            if (!strncmp(line, FIELDS[i], strlen(FIELDS[i])))
                kib = atof(line + strlen(FIELDS[i]));
        if (f)
            fclose(f);
        if (kib >= 0)
            return kib;
    }
    return 0;
}

/* ---- latencies: 128 buckets per octave, so a percentile is right within 0.8 % ---- */

enum { STEPS = 128, BUCKETS = 58 * STEPS };

static uint64_t buckets[BUCKETS], bucketed;

static void record_latency(uint64_t ns)
{
    unsigned shift = ns < STEPS ? 0 : 63u - 7u - (unsigned)__builtin_clzll(ns);
    size_t i = ns < STEPS ? ns : (shift + 1) * STEPS + (ns >> shift) - STEPS;
    buckets[i]++;
    bucketed++;
}

static double percentile_us(double p)
{
    uint64_t wanted = (uint64_t)(p * (double)bucketed), seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += buckets[i];
        if (seen > wanted) {
            unsigned shift = i < STEPS ? 0 : (unsigned)(i / STEPS - 1);
            double low = i < STEPS ? (double)i : (double)((uint64_t)(STEPS + i % STEPS) << shift);
            return (low + (double)(1ull << shift) / 2) / 1000;
        }
    }
    return 0;
}

/* ---- what is read and printed the same by all of them ---- */

struct playing {
    uint64_t messages, lost;
    double seconds, relay_cpu_us, own_cpu_us;    /* CPU in all */
};

/* The end of the line of JSON. */
static void print_playing(const struct playing *p)
{
    double each = p->messages ? 1.0 / (double)p->messages : 0;
    printf("\"messages\":%llu,\"lost\":%llu,\"seconds\":%.3f,\"messages_per_second\":%.0f,",
           (unsigned long long)p->messages, (unsigned long long)p->lost, p->seconds,
           p->seconds > 0 ? (double)p->messages / p->seconds : 0);
    printf("\"p50_us\":%.2f,\"p99_us\":%.2f,\"server_cpu_us_per_message\":%.3f,\"own_cpu_us_per_message\":%.3f}\n",
           percentile_us(0.50), percentile_us(0.99), p->relay_cpu_us * each, p->own_cpu_us * each);
}

static double number(const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (*end || end == text || value < least || value > most)
        die("not a number from %g to %g: %s", least, most, text);
    return value;
}

#endif
