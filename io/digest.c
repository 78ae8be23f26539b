/* SPDX-License-Identifier: Apache-2.0 */
/* digest: see digest.h. All the work is libxxhash's. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

/* For the members of XXH3_state_t. */
#define XXH_STATIC_LINKING_ONLY
#include "io/digest.h"

#include <string.h>

#ifdef HAVE_XXH_DISPATCH
#include <xxh_x86dispatch.h>
#endif

bool tm_hasher_init(struct tm_hasher *hasher)
{
    hasher->state = XXH3_createState();
    if (hasher->state == NULL)
        return false;
    /* What tm_hasher_save gives away has nothing of anybody else's. */
    memset(hasher->state, 0, sizeof(*hasher->state));
    tm_hasher_reset(hasher);
    return true;
}

void tm_hasher_free(struct tm_hasher *hasher)
{
    XXH3_freeState(hasher->state);
    hasher->state = NULL;
}

void tm_hasher_reset(struct tm_hasher *hasher)
{
    XXH3_128bits_reset(hasher->state);
}

void tm_hasher_add(struct tm_hasher *hasher, const void *data, size_t length)
{
    if (length > 0)
        XXH3_128bits_update(hasher->state, data, length);
}

static struct tm_digest canonical(XXH128_hash_t hash)
{
    struct tm_digest digest;
    XXH128_canonical_t bytes;

    XXH128_canonicalFromHash(&bytes, hash);
    memcpy(digest.bytes, bytes.digest, sizeof(digest.bytes));
    return digest;
}

struct tm_digest tm_hasher_digest(const struct tm_hasher *hasher)
{
    return canonical(XXH3_128bits_digest(hasher->state));
}

void tm_hasher_copy(struct tm_hasher *to, const struct tm_hasher *from)
{
    XXH3_copyState(to->state, from->state);
}

/* The state, and behind it the digest so far, to know it again by. */
size_t tm_hasher_saved(void)
{
    return sizeof(XXH3_state_t) + sizeof(struct tm_digest);
}

void tm_hasher_save(const struct tm_hasher *hasher, void *bytes)
{
    const struct tm_digest digest = tm_hasher_digest(hasher);
    XXH3_state_t state = *hasher->state;

    state.extSecret = NULL; /* an address of this process */
    memcpy(bytes, &state, sizeof(state));
    memcpy((char *)bytes + sizeof(state), &digest, sizeof(digest));
}

/* Whether libxxhash can go on with it without leaving its buffer. */
static bool is_sound(const XXH3_state_t *state, const XXH3_state_t *empty)
{
    return state->bufferedSize <= sizeof(state->buffer) &&
           state->bufferedSize <= state->totalLen &&
           state->nbStripesSoFar <= state->nbStripesPerBlock &&
           state->nbStripesPerBlock == empty->nbStripesPerBlock &&
           state->secretLimit == empty->secretLimit &&
           state->seed == empty->seed && state->useSeed == empty->useSeed;
}

bool tm_hasher_load(struct tm_hasher *hasher, const void *bytes)
{
    XXH3_state_t state;
    struct tm_digest digest;

    tm_hasher_reset(hasher);
    memcpy(&state, bytes, sizeof(state));
    if (!is_sound(&state, hasher->state))
        return false;
    state.extSecret = hasher->state->extSecret;
    *hasher->state = state;
    digest = tm_hasher_digest(hasher);
    if (memcmp(&digest, (const char *)bytes + sizeof(state), sizeof(digest)) ==
        0)
        return true;
    tm_hasher_reset(hasher);
    return false;
}

struct tm_digest tm_digest_of(const void *data, size_t length)
{
    return canonical(XXH3_128bits(data, length));
}

void tm_digest_print(const struct tm_digest *digest,
                     char text[TM_DIGEST_CHARS + 1])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < sizeof(digest->bytes); i++) {
        text[2 * i] = digits[digest->bytes[i] >> 4];
        text[2 * i + 1] = digits[digest->bytes[i] & 15];
    }
    text[TM_DIGEST_CHARS] = '\0';
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool tm_digest_parse(const char *text, struct tm_digest *digest)
{
    if (strlen(text) != TM_DIGEST_CHARS)
        return false;
    for (size_t i = 0; i < sizeof(digest->bytes); i++) {
        const int high = digit_value(text[2 * i]);
        const int low = digit_value(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        digest->bytes[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}
