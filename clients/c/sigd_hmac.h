/* sigd_hmac.h: SHA-256 (FIPS 180-4), HMAC (RFC 2104) and the macs of datagrams, for sigd.h. */
#ifndef SIGD_HMAC_H
#define SIGD_HMAC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "sigd_codes.h"

#define SIGD_TURN(x, by) ((x) >> (by) | (x) << (32 - (by)))

static void sigd__sha_block(uint32_t *h, const uint8_t *block) {
    static const uint32_t k[64] = {SIGD_SHA256_K};
    uint32_t w[64], v[8];
    memcpy(v, h, sizeof v);
    for (unsigned i = 0; i < 64; i++) {
        const uint8_t *b = block + i % 16 * 4;
        w[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
        if (i > 15)
            w[i] = w[i - 16] + (SIGD_TURN(w[i - 15], 7) ^ SIGD_TURN(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
                   (SIGD_TURN(w[i - 2], 17) ^ SIGD_TURN(w[i - 2], 19) ^ w[i - 2] >> 10);
        uint32_t one = v[7] + (SIGD_TURN(v[4], 6) ^ SIGD_TURN(v[4], 11) ^ SIGD_TURN(v[4], 25)) +
                       ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        uint32_t two = (SIGD_TURN(v[0], 2) ^ SIGD_TURN(v[0], 13) ^ SIGD_TURN(v[0], 22)) +
                       ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += one;
        v[0] = one + two;
    }
    for (unsigned i = 0; i < 8; i++) h[i] += v[i];
}

/* HMAC-SHA256 of two texts, `first` ending in NUL; 32 bytes. Keys are cut off after 64 bytes: tokens have 44. */
static void sigd__hmac(const void *key, size_t key_size, const char *first, const char *text, size_t size,
                       uint8_t *out) {
    for (int outer = 0; outer < 2; outer++) {
        uint32_t h[8] = {SIGD_SHA256_H};
        uint8_t block[64];
        size_t behind = 64 + strlen(first), total = behind + size, end = (total + 8) / 64 * 64 + 64;
        for (size_t i = 0; i < end; i++) {
            uint8_t byte = 0;
            if (i < 64) byte = (uint8_t)((i < key_size ? ((const uint8_t *)key)[i] : 0) ^ (outer ? 0x5c : 0x36));
            else if (i < behind) byte = (uint8_t)first[i - 64];
            else if (i < total) byte = (uint8_t)text[i - behind];
            else if (i == total) byte = 0x80; /* the padding, which ends in the length in bits */
            else if (end - i <= 4) byte = (uint8_t)(total * 8 >> 8 * (end - i - 1));
            block[i % 64] = byte;
            if (i % 64 == 63) sigd__sha_block(h, block);
        }
        for (int i = 0; i < 32; i++) out[i] = (uint8_t)(h[i / 4] >> (24 - i % 4 * 8));
        first = "", text = (const char *)out, size = 32;
    }
}

static const char sigd__hex[] = "0123456789abcdef";

/* 16 bytes in hexadecimal. */
static char *sigd__mac(const void *key, size_t key_size, const char *first, const char *text, size_t size, char *out) {
    uint8_t mac[32];
    sigd__hmac(key, key_size, first, text, size, mac);
    for (int i = 0; i < SIGD_MAC_LETTERS; i++) out[i] = sigd__hex[mac[i / 2] >> (i % 2 ? 0 : 4) & 15];
    return out;
}

/* Whether the right mac stands behind so many bytes and a space; how long it takes says nothing about it. */
static int sigd__verifies(const void *key, size_t key_size, const char *direction, const char *text, size_t size) {
    char mac[SIGD_MAC_LETTERS];
    int differs = text[size] ^ ' ';
    sigd__mac(key, key_size, direction, text, size, mac);
    for (size_t i = 0; i < sizeof mac; i++) differs |= mac[i] ^ text[size + 1 + i];
    return !differs;
}

#endif /* SIGD_HMAC_H */
