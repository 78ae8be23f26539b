/* SPDX-License-Identifier: Apache-2.0 */
/* chunk: see chunk.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "io/chunk.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "kernels/planes.h"

#ifdef HAVE_XXH_DISPATCH
#include <xxh_x86dispatch.h>
#endif

const char tm_other_base[] = "was made for another base";

static const char unknown_coding[] = "has a coding this version does not know";
static const char unknown_bits[] = "has a flag this version does not know";

/* --- types ---------------------------------------------------------------*/

const char *tm_coding_name(enum tm_coding coding)
{
    static const char *const names[TM_NUM_CODINGS] = {
        [TM_SAME] = "same", [TM_RANS] = "rans", [TM_ZSTD] = "zstd",
        [TM_SOLO] = "solo", [TM_RAW] = "raw",
    };

    return names[coding];
}

struct words {
    unsigned char code; /* of the type in a file */
    unsigned char bytes;
    bool is_float;
};

/* What docs/format.md calls any other type is not listed. */
static struct words words_of(enum tm_dtype dtype)
{
    static const struct words listed[TM_NUM_DTYPES] = {
        [TM_BF16] = {1, 2, true},    [TM_F16] = {2, 2, true},
        [TM_F32] = {3, 4, true},     [TM_F64] = {4, 8, true},
        [TM_F8_E4M3] = {5, 1, true}, [TM_F8_E5M2] = {6, 1, true},
        [TM_C64] = {7, 4, true},     [TM_I16] = {8, 2, false},
        [TM_U16] = {8, 2, false},    [TM_I32] = {9, 4, false},
        [TM_U32] = {9, 4, false},    [TM_I64] = {10, 8, false},
        [TM_U64] = {10, 8, false},
    };
    static const struct words bytes = {11, 1, false};

    return listed[dtype].code != 0 ? listed[dtype] : bytes;
}

unsigned tm_word_bytes(enum tm_dtype dtype)
{
    return words_of(dtype).bytes;
}

unsigned tm_word_code(enum tm_dtype dtype)
{
    return words_of(dtype).code;
}

static bool rans_kind(enum tm_dtype dtype, enum tm_rans_kind *kind)
{
    switch (dtype) {
    case TM_BF16:
        *kind = TM_RANS_BF16;
        return true;
    case TM_F16:
        *kind = TM_RANS_F16;
        return true;
    case TM_F32:
        *kind = TM_RANS_F32;
        return true;
    default:
        return false;
    }
}

/* --- the coder -----------------------------------------------------------*/

#define MAX_WORD_BYTES 8

/* The window of a frame: a whole plane (docs/format.md). */
#define WINDOW_LOG 18
_Static_assert(TM_CHUNK_WORDS == (size_t)1 << WINDOW_LOG, "a plane's bytes");

/*
 * Two ways to set zstd up, both at level 1 with its longest matches only:
 * those that it finds in noise cost more than they gain. SEARCHED looks for
 * matches everywhere. COUNTED has the smallest table it can have, so that it
 * finds next to nothing but runs and leaves the rest to Huffman codes; rows
 * that repeat are for the long-distance search. A sample of a plane says which
 * is the better one for it.
 *
 * Planes of MiniLM's pairs, zstd 1.5.4, a Xeon core that others shared: size
 * as a fraction of the words, GB/s of words coded, decoded. Decayed: rows that
 * only weight decay has changed, and some that are trained.
 *
 *                     BF16, difference   BF16, words       F32, decayed
 *     level 1         .240  .56  2.0     .693  .48  2.7    .233  .63  1.9
 *     level 3         .266  .29  1.6     .712  .35  1.8    .233  .52  2.4
 *     level -1        .350  .60  2.3     .743  .50  2.4    .247  .69  1.7
 *     SEARCHED        .234  .66  2.1     .682  .61  2.9    .231  .68  2.2
 *     COUNTED         .228  .63  2.8     .667  .77  4.4    .248  .46  1.7
 */
enum way { COUNTED, SEARCHED, NUM_WAYS };

/*
 * What is tried before a plane or a chunk is: so many of its bytes, from so
 * many places. Places are many because neighbours have much in common: with 16
 * of them chunks of decayed rows were often taken for others.
 */
#define PLANE_SAMPLE ((size_t)4096)
#define CHUNK_SAMPLE ((size_t)8192)
#define PLACES       ((size_t)64)

struct scratch {
    unsigned char planes[TM_CHUNK_WORDS * MAX_WORD_BYTES];
    /* A payload that may turn out the smallest; a frame is made with all the
       room it can want, since zstd is slower where it must watch its end. */
    unsigned char trial[(TM_CHUNK_WORDS + 4) * MAX_WORD_BYTES +
                        ZSTD_COMPRESSBOUND(TM_CHUNK_WORDS)];
    unsigned char base[CHUNK_SAMPLE];
    unsigned char tuned[CHUNK_SAMPLE];
    unsigned char plane[PLANE_SAMPLE];
};

struct tm_coder {
    enum tm_codec codec;
    struct tm_rans *rans;
    ZSTD_CCtx *compress[NUM_WAYS];
    ZSTD_DCtx *decompress;
    struct scratch *scratch;
};

/*
 * What zstd 1.5.4 takes for all contexts is 1.2 MiB; other versions are not so
 * different. A test sees to it that the sum is enough.
 */
#define ZSTD_MEMORY ((size_t)3 << 20)

uint64_t tm_coder_memory(void)
{
    return sizeof(struct tm_coder) + sizeof(struct scratch) + TM_RANS_MEMORY +
           ZSTD_MEMORY;
}

static ZSTD_CCtx *new_compressor(enum way way)
{
    static const struct {
        ZSTD_cParameter parameter;
        int value[NUM_WAYS];
    } settings[] = {
        {ZSTD_c_compressionLevel, {1, 1}},
        {ZSTD_c_windowLog, {WINDOW_LOG, WINDOW_LOG}},
        {ZSTD_c_minMatch, {7, 7}},
        {ZSTD_c_hashLog, {6, 0}}, /* 6: the least; 0: the level's */
        {ZSTD_c_enableLongDistanceMatching, {1, 0}},
        {ZSTD_c_contentSizeFlag, {1, 1}},
        {ZSTD_c_checksumFlag, {0, 0}},
    };
    ZSTD_CCtx *context = ZSTD_createCCtx();

    if (context == NULL)
        return NULL;
    for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
        if (ZSTD_isError(ZSTD_CCtx_setParameter(context, settings[i].parameter,
                                                settings[i].value[way]))) {
            ZSTD_freeCCtx(context);
            return NULL;
        }
    }
    return context;
}

/* Every frame is decoded in one go, so that there is no window to limit. */
static bool set_up_zstd(struct tm_coder *coder)
{
    coder->decompress = ZSTD_createDCtx();
    for (int way = 0; way < NUM_WAYS; way++) {
        coder->compress[way] = new_compressor((enum way)way);
        if (coder->compress[way] == NULL)
            return false;
    }
    return coder->decompress != NULL;
}

struct tm_coder *tm_coder_new(enum tm_isa isa, enum tm_codec codec)
{
    struct tm_coder *coder = calloc(1, sizeof(*coder));

    if (coder == NULL)
        return NULL;
    coder->codec = codec;
    coder->scratch = malloc(sizeof(*coder->scratch));
    coder->rans = tm_rans_new(isa);
    if (coder->scratch == NULL || coder->rans == NULL || !set_up_zstd(coder)) {
        tm_coder_free(coder);
        return NULL;
    }
    return coder;
}

void tm_coder_free(struct tm_coder *coder)
{
    if (coder == NULL)
        return;
    ZSTD_freeDCtx(coder->decompress);
    for (int way = 0; way < NUM_WAYS; way++)
        ZSTD_freeCCtx(coder->compress[way]);
    tm_rans_free(coder->rans);
    free(coder->scratch);
    free(coder);
}

/* --- the head ------------------------------------------------------------*/

struct head {
    unsigned char coding;
    unsigned char zero[3];
    uint32_t payload; /* checksums */
    uint64_t words;
};
_Static_assert(sizeof(struct head) == TM_CHUNK_HEAD, "as in the file");

static uint32_t payload_checksum(const void *payload, size_t length)
{
    return (uint32_t)XXH3_64bits(payload, length);
}

/* Returns NULL or why not. */
static const char *read_head(const void *coded, size_t length,
                             struct head *head)
{
    static const unsigned char zero[sizeof(head->zero)];

    if (length < TM_CHUNK_HEAD)
        return "is damaged: a chunk is cut short";
    memcpy(head, coded, sizeof(*head));
    if (head->coding == TM_SAME || head->coding >= TM_NUM_CODINGS)
        return unknown_coding;
    if (memcmp(head->zero, zero, sizeof(zero)) != 0)
        return unknown_bits;
    return NULL;
}

/* --- planes as frames ----------------------------------------------------*/

static bool is_zero(const unsigned char *plane, size_t n)
{
    return plane[0] == 0 && memcmp(plane, plane + 1, n - 1) == 0;
}

/*
 * Takes m words of n, which are more. Within its share of them a place is
 * somewhere, not at the same spot each time: rows have lengths that would fall
 * in step.
 */
static void take_sample(const void *words, unsigned size, size_t n, size_t m,
                        unsigned char *sample)
{
    const size_t stretch = m / PLACES, share = n / PLACES;

    for (size_t i = 0; i < PLACES; i++) {
        const uint32_t random = (uint32_t)i * 2654435761U >> 8;
        const size_t at = i * share + random % (share - stretch + 1);

        memcpy(sample + i * stretch * size, (const char *)words + at * size,
               stretch * size);
    }
}

static size_t make_frame(struct tm_coder *coder, enum way way,
                         const unsigned char *plane, size_t n,
                         unsigned char *out)
{
    return ZSTD_compress2(coder->compress[way], out, ZSTD_compressBound(n),
                          plane, n);
}

/* What a sample of a plane says is best for it; `out` has room for a frame. */
static enum way best_way(struct tm_coder *coder, const unsigned char *plane,
                         size_t n, unsigned char *out)
{
    unsigned char *sample = coder->scratch->plane;

    if (n <= PLANE_SAMPLE)
        return SEARCHED;
    take_sample(plane, 1, n, PLANE_SAMPLE, sample);
    return make_frame(coder, SEARCHED, sample, PLANE_SAMPLE, out) <
                   make_frame(coder, COUNTED, sample, PLANE_SAMPLE, out)
               ? SEARCHED
               : COUNTED;
}

/*
 * Puts a plane of n bytes where there is room for n and for a frame. Returns
 * the length it has there, or what zstd says is wrong.
 */
static size_t put_plane(struct tm_coder *coder, const unsigned char *plane,
                        size_t n, unsigned char *out)
{
    size_t length;

    if (is_zero(plane, n))
        return 0;
    length = make_frame(coder, best_way(coder, plane, n, out), plane, n, out);
    if (ZSTD_isError(length) || length < n)
        return length;
    memcpy(out, plane, n);
    return n;
}

/*
 * Makes a payload of the planes of n words in scratch->trial. Gives its
 * length, or 0 if that would be more than `room`.
 */
static enum tm_status put_planes(struct tm_coder *coder, unsigned size,
                                 size_t n, size_t room, size_t *length)
{
    const unsigned char *plane = coder->scratch->planes;
    unsigned char *out = coder->scratch->trial;
    size_t used = 0;

    *length = 0;
    for (unsigned i = 0; i < size; i++, plane += n) {
        uint32_t stored;
        const size_t bytes =
            put_plane(coder, plane, n, out + used + sizeof(stored));

        if (ZSTD_isError(bytes))
            return tm_error(TM_SYSTEM, "zstd: %s", ZSTD_getErrorName(bytes));
        stored = (uint32_t)bytes;
        memcpy(out + used, &stored, sizeof(stored));
        used += sizeof(stored) + bytes;
        if (used > room)
            return TM_OK;
    }
    *length = used;
    return TM_OK;
}

/*
 * Whether it is a frame of today's format whose window is no larger than
 * ours (RFC 8878, 3.1.1.1). Frames that are skipped, or of formats that came
 * before, are for zstd's decoder too, if it was built so, and allocate.
 */
static bool is_plain_frame(const unsigned char *frame, size_t length)
{
    uint32_t magic;
    unsigned exponent, mantissa;

    if (length < sizeof(magic) + 2)
        return false;
    memcpy(&magic, frame, sizeof(magic));
    if (magic != ZSTD_MAGICNUMBER)
        return false;
    if ((frame[4] & 0x20) != 0) /* a single segment: its content's size */
        return true;
    exponent = 10 + (frame[5] >> 3);
    mantissa = frame[5] & 7;
    return exponent < WINDOW_LOG || (exponent == WINDOW_LOG && mantissa == 0);
}

/* One frame of n bytes, and nothing behind it. */
static bool get_frame(struct tm_coder *coder, const unsigned char *frame,
                      size_t length, unsigned char *plane, size_t n)
{
    return is_plain_frame(frame, length) &&
           ZSTD_getFrameContentSize(frame, length) == n &&
           ZSTD_findFrameCompressedSize(frame, length) == length &&
           ZSTD_decompressDCtx(coder->decompress, plane, n, frame, length) == n;
}

/* The planes of n words from a payload, into scratch->planes. */
static bool get_planes(struct tm_coder *coder, const unsigned char *in,
                       size_t length, unsigned size, size_t n)
{
    unsigned char *plane = coder->scratch->planes;
    uint32_t stored;

    for (unsigned i = 0; i < size; i++, plane += n) {
        if (length < sizeof(stored))
            return false;
        memcpy(&stored, in, sizeof(stored));
        in += sizeof(stored);
        length -= sizeof(stored);
        if (stored > length)
            return false;
        if (stored == 0)
            memset(plane, 0, n);
        else if (stored == n)
            memcpy(plane, in, n);
        else if (!get_frame(coder, in, stored, plane, n))
            return false;
        in += stored;
        length -= stored;
    }
    return length == 0;
}

/* --- encoding ------------------------------------------------------------*/

/* A chunk on its way: the smallest payload so far. */
struct attempt {
    struct tm_coder *coder;
    const struct tm_chunk *chunk;
    const void *tuned;
    struct words words;
    size_t bytes; /* of the words */
    bool any;     /* something was tried */
    enum tm_coding coding;
    size_t length;
    unsigned char *payload;
};

static void try_rans(struct attempt *a)
{
    const struct tm_chunk *chunk = a->chunk;
    enum tm_rans_kind kind;
    size_t length;

    if (chunk->base == NULL || a->coder->codec == TM_CODEC_ZSTD ||
        !rans_kind(chunk->dtype, &kind))
        return;
    length = tm_rans_encode(a->coder->rans, kind, chunk->base, a->tuned,
                            chunk->words, a->payload, a->bytes);
    if (length > 0) {
        a->coding = TM_RANS;
        a->length = length;
    }
    a->any = true;
}

static void make_planes(struct attempt *a, enum tm_coding coding,
                        const void *base, const void *tuned, size_t n)
{
    unsigned char *planes = a->coder->scratch->planes;

    if (coding == TM_ZSTD)
        tm_planes_difference(a->words.bytes, a->words.is_float, base, tuned, n,
                             planes);
    else
        tm_planes_split(a->words.bytes, a->words.is_float, tuned, n, planes);
}

/*
 * Whether it is worth the time to try a coding in earnest: whether zstd makes
 * a sample smaller than the smallest payload so far is for as many words. It
 * rarely does where there is rans: where rows or values repeat, where low bits
 * are always zero. The sample takes about a twentieth of the time of rans.
 */
static enum tm_status promises(struct attempt *a, enum tm_coding coding,
                               bool *yes)
{
    struct scratch *scratch = a->coder->scratch;
    const unsigned size = a->words.bytes;
    const size_t n = a->chunk->words, m = CHUNK_SAMPLE / size;
    /* Headers and tables, which a plane pays once, whatever its length. */
    const size_t once = (size_t)40 * size;
    enum tm_status status;
    size_t length;

    *yes = !a->any || n <= 4 * m;
    /* Words by themselves do not become much smaller. */
    if (*yes || (coding == TM_SOLO && a->length < a->bytes / 5 * 3))
        return TM_OK;
    take_sample(a->tuned, size, n, m, scratch->tuned);
    if (coding == TM_ZSTD)
        take_sample(a->chunk->base, size, n, m, scratch->base);
    make_planes(a, coding, scratch->base, scratch->tuned, m);
    status = put_planes(a->coder, size, m, SIZE_MAX, &length);
    length -= length < once ? length : once;
    *yes = (uint64_t)length * n < (uint64_t)a->length * m;
    return status;
}

/* Of two that are equal the lesser coding stays. */
static enum tm_status try_planes(struct attempt *a, enum tm_coding coding)
{
    const struct tm_chunk *chunk = a->chunk;
    enum tm_status status;
    size_t room = a->length - (a->coding < coding), length;
    bool yes;

    status = promises(a, coding, &yes);
    if (status != TM_OK || !yes)
        return status;
    make_planes(a, coding, chunk->base, a->tuned, chunk->words);
    status = put_planes(a->coder, a->words.bytes, chunk->words, room, &length);
    a->any = true;
    if (status != TM_OK || length == 0)
        return status;
    memcpy(a->payload, a->coder->scratch->trial, length);
    a->coding = coding;
    a->length = length;
    return TM_OK;
}

static void put_head(const struct attempt *a, void *out)
{
    const struct head head = {
        .coding = (unsigned char)a->coding,
        .payload = payload_checksum(a->payload, a->length),
        .words = XXH3_64bits(a->tuned, a->bytes),
    };

    memcpy(out, &head, sizeof(head));
}

enum tm_status tm_chunk_encode(struct tm_coder *coder,
                               const struct tm_chunk *chunk, const void *tuned,
                               void *out, size_t *length,
                               enum tm_coding *coding)
{
    const struct words words = words_of(chunk->dtype);
    struct attempt a = {
        .coder = coder,
        .chunk = chunk,
        .tuned = tuned,
        .words = words,
        .bytes = chunk->words * words.bytes,
        .coding = TM_RAW,
        .length = chunk->words * words.bytes,
        .payload = (unsigned char *)out + TM_CHUNK_HEAD,
    };
    enum tm_status status = TM_OK;

    *length = 0;
    *coding = TM_SAME;
    if (chunk->base != NULL && memcmp(chunk->base, tuned, a.bytes) == 0)
        return TM_OK;
    try_rans(&a);
    if (chunk->base != NULL)
        status = try_planes(&a, TM_ZSTD);
    if (status == TM_OK)
        status = try_planes(&a, TM_SOLO);
    if (status != TM_OK)
        return status;
    if (a.coding == TM_RAW)
        memcpy(a.payload, tuned, a.bytes);
    put_head(&a, out);
    *length = TM_CHUNK_HEAD + a.length;
    *coding = a.coding;
    return TM_OK;
}

/* --- decoding ------------------------------------------------------------*/

/* A chunk that comes back. */
struct coded {
    struct head head;
    struct words words;
    const unsigned char *payload;
    size_t length; /* of the payload */
};

static bool get_rans(struct tm_coder *coder, const struct tm_chunk *chunk,
                     const struct coded *c, void *tuned)
{
    enum tm_rans_kind kind;

    return rans_kind(chunk->dtype, &kind) &&
           tm_rans_decode(coder->rans, kind, chunk->base, c->payload, c->length,
                          chunk->words, tuned);
}

static bool get_words(struct tm_coder *coder, const struct tm_chunk *chunk,
                      const struct coded *c, void *tuned)
{
    const unsigned size = c->words.bytes;
    const unsigned char *planes = coder->scratch->planes;

    switch ((enum tm_coding)c->head.coding) {
    case TM_RANS:
        return get_rans(coder, chunk, c, tuned);
    case TM_ZSTD:
        if (!get_planes(coder, c->payload, c->length, size, chunk->words))
            return false;
        tm_planes_restore(size, c->words.is_float, chunk->base, planes,
                          chunk->words, tuned);
        return true;
    case TM_SOLO:
        if (!get_planes(coder, c->payload, c->length, size, chunk->words))
            return false;
        tm_planes_join(size, c->words.is_float, planes, chunk->words, tuned);
        return true;
    default:
        if (c->length != chunk->words * size)
            return false;
        memcpy(tuned, c->payload, c->length);
        return true;
    }
}

/*
 * Why a chunk's words are not what they should be; `decoded`: there are some.
 * Only now is it worth the time to look at the payload by itself. What rans
 * makes of it hangs on the base from the first word on, so that it may find
 * out before its end; planes are whole with any base.
 */
static const char *blame(const struct coded *c, bool decoded)
{
    if (payload_checksum(c->payload, c->length) != c->head.payload)
        return "is damaged: a chunk's checksum does not match";
    if (c->head.coding == TM_RANS || (c->head.coding == TM_ZSTD && decoded))
        return TM_OTHER_BASE;
    return "is damaged: a chunk does not make the words it was made of";
}

const char *tm_chunk_decode(struct tm_coder *coder,
                            const struct tm_chunk *chunk, const void *coded,
                            size_t length, void *tuned)
{
    struct coded c = {.words = words_of(chunk->dtype)};
    const size_t bytes = chunk->words * c.words.bytes;
    enum tm_rans_kind kind;
    const char *why;
    bool decoded;

    if (length == 0) {
        if (chunk->base == NULL)
            return "is damaged: a chunk needs a base where there is none";
        memcpy(tuned, chunk->base, bytes);
        return NULL;
    }
    why = read_head(coded, length, &c.head);
    if (why != NULL)
        return why;
    c.payload = (const unsigned char *)coded + TM_CHUNK_HEAD;
    c.length = length - TM_CHUNK_HEAD;
    if (c.length > bytes)
        return "is damaged: a chunk is longer than the words it was made of";
    if (c.head.coding == TM_RANS && !rans_kind(chunk->dtype, &kind))
        return "is damaged: a chunk has a coding that is not for its type";
    if (c.head.coding <= TM_ZSTD && chunk->base == NULL)
        return "is damaged: a chunk needs a base where there is none";
    decoded = get_words(coder, chunk, &c, tuned);
    if (decoded && XXH3_64bits(tuned, bytes) == c.head.words)
        return NULL;
    return blame(&c, decoded);
}

uint64_t tm_chunk_digest(const void *coded, size_t length, const void *words,
                         size_t bytes)
{
    struct head head;

    if (length == 0)
        return XXH3_64bits(words, bytes);
    memcpy(&head, coded, sizeof(head));
    return head.words;
}

const char *tm_chunk_check(const void *coded, size_t length,
                           enum tm_coding *coding)
{
    struct head head;
    const char *why;

    *coding = TM_SAME;
    if (length == 0)
        return NULL;
    why = read_head(coded, length, &head);
    if (why != NULL)
        return why;
    *coding = (enum tm_coding)head.coding;
    if (payload_checksum((const char *)coded + TM_CHUNK_HEAD,
                         length - TM_CHUNK_HEAD) != head.payload)
        return "is damaged: a chunk's checksum does not match";
    return NULL;
}
