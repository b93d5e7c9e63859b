/* Made by clients/c/codes.py from what the daemon is made of: edit that, not this. */
#ifndef SIGD_CODES_H
#define SIGD_CODES_H

#define SIGD_PORT                 7337     /* TCP and UDP */
#define SIGD_MAX_NAME             64       /* characters of a peer ID or a session */
#define SIGD_MAX_COOKIE           48       /* characters */
#define SIGD_MIN_FRAME            1024     /* bytes: the least maxFrame that a client may ask for */
#define SIGD_MAX_FRAME            16777215 /* bytes: a length has 24 bits */
#define SIGD_FIRST_FRAME          4096     /* bytes that a server takes before it has registered you */
#define SIGD_MAX_META             1024     /* bytes */
#define SIGD_MAX_REASON           128      /* characters */
#define SIGD_KEEPALIVE_MS         30000    /* where nobody has asked for another */
#define SIGD_MIN_KEEPALIVE_MS     5000     /* less counts as this */
#define SIGD_MAX_KEEPALIVE_MS     300000   /* more counts as this */
#define SIGD_SILENCE_PERCENT      250      /* of a keepalive: who was silent for so long is taken for dead */
#define SIGD_CONNECT_MS           10000    /* for one attempt, the answer to register included */
#define SIGD_SHORTEST_PAUSE_MS    100      /* ceiling of the first pause before connecting again */
#define SIGD_LONGEST_PAUSE_MS     10000    /* ceiling of all later ones */
#define SIGD_MOST_DOUBLINGS       7        /* of that ceiling: more would only make the number large */
#define SIGD_LONGEST_HOLD_MS      86400000 /* a server that asks for more than a day has made a slip */
#define SIGD_STABLE_MS            10000    /* once registered for so long, pauses are short again */
#define SIGD_LEAVE_MS             1000     /* for a stream's server to close, once it was told */
#define SIGD_STUCK_MS             20       /* until a socket that took nothing is tried again */
#define SIGD_MAX_DATAGRAM         1200     /* bytes */
#define SIGD_MAX_DATAGRAM_MESSAGE 16000    /* bytes of a message over UDP */
#define SIGD_MAX_SLICES           16       /* datagrams of one message */
#define SIGD_SLICE_BYTES          1060     /* of a message in each of its datagrams but the last */
#define SIGD_LEAST_SLICE          1000     /* bytes, of what others send */
#define SIGD_LEAST_REGISTER       160      /* bytes of a first datagram, or it is not answered */
#define SIGD_MAC_LETTERS          32       /* hexadecimal, at the end of a datagram */
#define SIGD_DOUBT_MS             10000    /* until a refusal counts that anybody may have sent */
#define SIGD_SILENT_MS            25000    /* until a ping over UDP: there are NATs that forget after 30 s */
#define SIGD_REPING_MS            1000     /* from one unanswered ping to the next */
#define SIGD_HINT_MS              3000     /* for an answer, after a hint that the server does not know the link */
#define SIGD_FIRST_RTO_MS         1000     /* until a datagram is sent again (RFC 6298) */
#define SIGD_LEAST_RTO_MS         200      /* never sooner */
#define SIGD_MOST_RTO_MS          4000     /* nor later */
#define SIGD_UNACKNOWLEDGED_MS    30000    /* after which it ends the link */

/* What comes, as the server sends it; a device is told of all but PING. */
enum sigd_type {
    SIGD_TYPE_OFFER,
    SIGD_TYPE_ANSWER,
    SIGD_TYPE_CANDIDATE,
    SIGD_TYPE_BYE,
    SIGD_TYPE_MESSAGE,
    SIGD_TYPE_ICE_SERVERS,
    SIGD_TYPE_REGISTERED,
    SIGD_TYPE_OK,
    SIGD_TYPE_ERROR,
    SIGD_TYPE_GOING_AWAY,
    SIGD_TYPE_PING,
    SIGD_TYPE_SENT, /* the texts of the message `ref` are yours again */
    SIGD_TYPE_UNSENT /* the same, the link having ended: perhaps it was not delivered */
};

/* Of each its name, the member that holds a peer ID, and the one that is the body. */
#define SIGD_TYPE_TEXTS \
    "offer\0" "from\0" "sdp\0" \
    "answer\0" "from\0" "sdp\0" \
    "candidate\0" "from\0" "candidate\0" \
    "bye\0" "from\0" "reason\0" \
    "message\0" "from\0" "data\0" \
    "iceServers\0" "\0" "iceServers\0" \
    "registered\0" "id\0" "iceServers\0" \
    "ok\0" "\0" "\0" \
    "error\0" "to\0" "message\0" \
    "goingAway\0" "\0" "reason\0" \
    "ping\0" "\0" "\0"

/* What a client does after an error (protocol.md, section 7). */
enum sigd_next {
    SIGD_NEXT_MEND,
    SIGD_NEXT_BACK_OFF,
    SIGD_NEXT_NEVER
};

enum sigd_code {
    /* Of a newer server. */
    SIGD_CODE_UNKNOWN,
    /* It is not JSON, or a member is missing or not as section 6 has it. */
    SIGD_CODE_BAD_MESSAGE,
    /* No message has this `type`, or no command this name. */
    SIGD_CODE_UNKNOWN_TYPE,
    /* This needs a registered link: send `register` first. */
    SIGD_CODE_NOT_REGISTERED,
    /* The link has another ID: close it to change. */
    SIGD_CODE_ALREADY_REGISTERED,
    /* Somebody else holds the ID, another claim on it waits, or it has changed hands too often. */
    SIGD_CODE_ID_TAKEN,
    /* Nobody holds the ID in `to`, or its link has ended. */
    SIGD_CODE_PEER_UNAVAILABLE,
    /* The recipient's outbox is full. */
    SIGD_CODE_PEER_BUSY,
    /* Longer than the server takes, or than the `maxFrame` of whom it is for. */
    SIGD_CODE_TOO_LARGE,
    /* Too much in too short a time. */
    SIGD_CODE_RATE_LIMITED,
    /* The credential does not allow this. */
    SIGD_CODE_FORBIDDEN,
    /* A length of 0 or far above the limit, a frame too long before `register`, one that took too long, or a bad PROXY header. */
    SIGD_CODE_BAD_FRAME,
    /* The credential is not accepted for this ID, or not any more. */
    SIGD_CODE_AUTH_FAILED,
    /* The credential has expired: come back with a new one. */
    SIGD_CODE_AUTH_EXPIRED,
    /* No `register` came in time. */
    SIGD_CODE_REGISTER_TIMEOUT,
    /* Another link with the same credential has taken the ID over. */
    SIGD_CODE_REPLACED,
    /* An operator has ended the link. */
    SIGD_CODE_KICKED,
    /* The client did not read what was due to it. */
    SIGD_CODE_SLOW_CONSUMER,
    /* There are as many links as may be (in all, from one address, or without an ID), or no memory is left. */
    SIGD_CODE_SERVER_FULL,
    /* Nothing came from the client for too long. */
    SIGD_CODE_IDLE_TIMEOUT,
    /* A bug in the server: see its log. */
    SIGD_CODE_INTERNAL
};

/* How each is spelled, and then: enum sigd_next, doubled, and 1 if it ends the link. */
#define SIGD_CODE_TEXTS \
    "unknown\0" \
    "bad-message\0" \
    "unknown-type\0" \
    "not-registered\0" \
    "already-registered\0" \
    "id-taken\0" \
    "peer-unavailable\0" \
    "peer-busy\0" \
    "too-large\0" \
    "rate-limited\0" \
    "forbidden\0" \
    "bad-frame\0" \
    "auth-failed\0" \
    "auth-expired\0" \
    "register-timeout\0" \
    "replaced\0" \
    "kicked\0" \
    "slow-consumer\0" \
    "server-full\0" \
    "idle-timeout\0" \
    "internal\0"
#define SIGD_CODE_RULES \
    SIGD_NEXT_BACK_OFF * 2, \
    SIGD_NEXT_MEND * 2 + 0, \
    SIGD_NEXT_MEND * 2 + 0, \
    SIGD_NEXT_MEND * 2 + 0, \
    SIGD_NEXT_MEND * 2 + 0, \
    SIGD_NEXT_BACK_OFF * 2 + 0, \
    SIGD_NEXT_BACK_OFF * 2 + 0, \
    SIGD_NEXT_BACK_OFF * 2 + 0, \
    SIGD_NEXT_MEND * 2 + 0, \
    SIGD_NEXT_BACK_OFF * 2 + 0, \
    SIGD_NEXT_MEND * 2 + 0, \
    SIGD_NEXT_BACK_OFF * 2 + 1, \
    SIGD_NEXT_NEVER * 2 + 1, \
    SIGD_NEXT_BACK_OFF * 2 + 1, \
    SIGD_NEXT_BACK_OFF * 2 + 1, \
    SIGD_NEXT_NEVER * 2 + 1, \
    SIGD_NEXT_NEVER * 2 + 1, \
    SIGD_NEXT_BACK_OFF * 2 + 1, \
    SIGD_NEXT_BACK_OFF * 2 + 1, \
    SIGD_NEXT_BACK_OFF * 2 + 1, \
    SIGD_NEXT_BACK_OFF * 2 + 1

/* SHA-256 (FIPS 180-4): square roots of the first primes, and cube roots, behind the point. */
#define SIGD_SHA256_H \
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
#define SIGD_SHA256_K \
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, \
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, \
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, \
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, \
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, \
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, \
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, \
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2

#endif
