/* Small deflated chunks, read from a file and inflated many at a time: of one of 64 × 64 elements
 * most of the time would go into the calls of Python, and into tables made for long streams.
 *
 * https://www.rfc-editor.org/rfc/rfc1950 and rfc1951. Nothing of a file is trusted: nothing is read
 * beyond the packed bytes and the padding behind them, or written beyond the chunk.
 */

#define _XOPEN_SOURCE 700
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define PASS __attribute__((target_clones("avx2", "default")))
#define SHIFTS __attribute__((target_clones("bmi2", "default"))) /* by any number of bits, in one step */
#else
#define PASS
#define SHIFTS
#endif

#define INLINE static inline __attribute__((always_inline))

/* A code is looked up by its first bits; a longer one by its others, in a second table. */
#define LONGEST 15
#define LITERAL_BITS 10
#define DISTANCE_BITS 8
#define LENGTH_BITS 7

#define N_LITERALS 288
#define N_DISTANCES 32
#define N_LENGTHS 19

/* An entry of a table: the bits of a code with its extra bits, its own bits, and a value; 0 of none. */
#define ENTRY(EXTRA, VALUE) ((uint32_t)(EXTRA) | (uint32_t)(VALUE) << 16)
#define CODE(LENGTH) ((uint32_t)(LENGTH) * 0x101u) /* added to an entry */
#define ALL_BITS(E) ((E) & 63)
#define CODE_BITS(E) ((E) >> 8 & 31)
#define VALUE(E) ((E) >> 16 & 0x7FFF)
#define SECOND (1u << 13)
#define END (1u << 14)
#define LITERAL (1u << 31)
#define NONE 0xFFFFFFFFu

/* Bytes behind the packed ones: more than are read between two checks. */
#define PADDING 64

#define MASK(WIDTH) ((UINT64_C(1) << (WIDTH)) - 1)

/* Bits that were read, the first one lowest; those above `n_bits` may be the next ones already. */
typedef struct {
    const uint8_t *next, *end;
    uint64_t bits;
    unsigned n_bits;
} Input;

typedef struct {
    uint32_t literals[(1 << LITERAL_BITS) + (N_LITERALS << (LONGEST - LITERAL_BITS))];
    uint32_t distances[(1 << DISTANCE_BITS) + (N_DISTANCES << (LONGEST - DISTANCE_BITS))];
} Tables;

/* At least 56 bits. */
INLINE void refill(Input *in) {
    uint64_t more;
    memcpy(&more, in->next, sizeof more);
    in->bits |= more << in->n_bits;
    in->next += (63 - in->n_bits) >> 3;
    in->n_bits |= 56;
}

INLINE uint32_t take(Input *in, unsigned n) {
    uint32_t value = (uint32_t)(in->bits & MASK(n));
    in->bits >>= n;
    in->n_bits -= n;
    return value;
}

/* The first byte of which no bit was taken. */
INLINE const uint8_t *position(const Input *in) { return in->next - in->n_bits / 8; }

INLINE uint32_t of_literal(unsigned symbol) {
    static const uint8_t EXTRA[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                      2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const uint16_t LENGTH[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                        31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    if (symbol < 256) return LITERAL | ENTRY(0, symbol);
    if (symbol == 256) return END;
    return symbol < 286 ? ENTRY(EXTRA[symbol - 257], LENGTH[symbol - 257]) : NONE;
}

INLINE uint32_t of_distance(unsigned symbol) {
    if (symbol < 4) return ENTRY(0, symbol + 1);
    unsigned extra = symbol / 2 - 1;
    return symbol < 30 ? ENTRY(extra, ((2 + (symbol & 1)) << extra) + 1) : NONE;
}

INLINE uint32_t of_length(unsigned symbol) { return ENTRY(0, symbol); }

INLINE unsigned reversed(unsigned code, unsigned n) {
    code = (code & 0x5555) << 1 | (code >> 1 & 0x5555);
    code = (code & 0x3333) << 2 | (code >> 2 & 0x3333);
    code = (code & 0x0F0F) << 4 | (code >> 4 & 0x0F0F);
    code = (code & 0x00FF) << 8 | (code >> 8 & 0x00FF);
    return code >> (16 - n);
}

/* The table of a code, by the bits of each symbol; 0 if these are more or fewer codes than bits tell
 * apart. As in zlib a code of literals or distances may be a single bit, or none.
 */
INLINE int build(uint32_t *table, unsigned width, const uint8_t *lengths, unsigned n,
                 uint32_t (*of)(unsigned)) {
    unsigned count[LONGEST + 1] = {0}, place[LONGEST + 1], code = 0, n_codes = 0;
    uint16_t symbols[N_LITERALS], *symbol = symbols;
    unsigned odd[LONGEST + 1] = {0}; /* in turn, for most lengths are the one before */
    for (unsigned i = 0; i < n; i++) (i & 1 ? odd : count)[lengths[i]]++;
    for (unsigned i = 0; i <= LONGEST; i++) count[i] += odd[i];
    for (unsigned length = 1; length <= LONGEST; length++) {
        place[length] = n_codes;
        n_codes += count[length];
        code = (code << 1) + count[length];
        if (code > 1u << length) return 0;
    }
    int is_single = n_codes == count[1] && width != LENGTH_BITS;
    if (code != 1u << LONGEST && n_codes && !is_single) return 0;
    for (unsigned i = 0; i < n; i++)
        if (lengths[i]) symbols[place[lengths[i]]++] = (uint16_t)i;
    table[0] = 0;
    code = 0;
    for (unsigned length = 1; length <= width; length++) {
        /* The shorter codes, with either bit behind them. */
        memcpy(table + (1u << (length - 1)), table, sizeof *table << (length - 1));
        code <<= 1;
        for (unsigned i = count[length]; i; i--) {
            uint32_t entry = of(*symbol++);
            table[reversed(code++, length)] = entry == NONE ? 0 : entry + CODE(length);
        }
    }
    unsigned size = 1u << width, longer = LONGEST - width;
    for (unsigned length = width + 1; length <= LONGEST; length++) {
        code <<= 1;
        for (unsigned i = count[length]; i; i--) {
            unsigned bits = reversed(code++, length);
            uint32_t entry = of(*symbol++), *first = &table[bits & MASK(width)];
            if (!*first) {
                memset(table + size, 0, sizeof *table << longer);
                *first = SECOND | (ENTRY(0, size) + CODE(width));
                size += 1u << longer;
            }
            if (entry == NONE) continue;
            for (unsigned k = bits >> width; k < 1u << longer; k += 1u << (length - width))
                table[VALUE(*first) + k] = entry + CODE(length - width);
        }
    }
    return 1;
}

static int fixed_codes(Tables *tables) {
    uint8_t lengths[N_LITERALS];
    memset(lengths, 8, 144);
    memset(lengths + 144, 9, 112);
    memset(lengths + 256, 7, 24);
    memset(lengths + 280, 8, 8);
    if (!build(tables->literals, LITERAL_BITS, lengths, N_LITERALS, of_literal)) return 0;
    memset(lengths, 5, N_DISTANCES);
    return build(tables->distances, DISTANCE_BITS, lengths, N_DISTANCES, of_distance);
}

static int read_codes(Input *in, Tables *tables) {
    static const uint8_t ORDER[N_LENGTHS] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                             11, 4,  12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[N_LITERALS + N_DISTANCES], of_lengths[N_LENGTHS] = {0};
    uint32_t table[(1 << LENGTH_BITS) + (1 << (LONGEST - LENGTH_BITS))];
    refill(in);
    unsigned n_literals = take(in, 5) + 257, n_distances = take(in, 5) + 1, n = take(in, 4) + 4;
    unsigned total = n_literals + n_distances;
    if (n_literals > 286 || n_distances > 30) return 0;
    for (unsigned i = 0; i < n; i++) {
        if (i % 16 == 0) refill(in);
        of_lengths[ORDER[i]] = (uint8_t)take(in, 3);
    }
    if (!build(table, LENGTH_BITS, of_lengths, N_LENGTHS, of_length)) return 0;
    for (unsigned i = 0; i < total;) {
        refill(in);
        uint32_t entry = table[in->bits & MASK(LENGTH_BITS)];
        if (!entry || position(in) > in->end) return 0;
        take(in, ALL_BITS(entry));
        unsigned symbol = VALUE(entry), times = 0;
        if (symbol < 16) {
            lengths[i++] = (uint8_t)symbol;
            continue;
        }
        if (symbol == 16 && !i) return 0;
        uint8_t length = symbol == 16 ? lengths[i - 1] : 0;
        if (symbol == 16) times = 3 + take(in, 2);
        if (symbol == 17) times = 3 + take(in, 3);
        if (symbol == 18) times = 11 + take(in, 7);
        if (times > total - i) return 0;
        memset(lengths + i, length, times);
        i += times;
    }
    return lengths[256] && build(tables->literals, LITERAL_BITS, lengths, n_literals, of_literal) &&
           build(tables->distances, DISTANCE_BITS, lengths + n_literals, n_distances, of_distance);
}

INLINE uint32_t entry_at(const Input *in, const uint32_t *table, unsigned width) {
    return table[in->bits & MASK(width)];
}

/* The entry itself, or the one in the second table that it leads to. */
INLINE uint32_t followed(uint32_t entry, Input *in, const uint32_t *table, unsigned width) {
    if (__builtin_expect(!(entry & SECOND), 1)) return entry;
    take(in, width);
    return table[VALUE(entry) + (in->bits & MASK(LONGEST - width))];
}

/* The value of an entry with that of its extra bits. */
INLINE int64_t value_of(Input *in, uint32_t entry) {
    uint32_t extra = (uint32_t)((in->bits & MASK(ALL_BITS(entry))) >> CODE_BITS(entry));
    take(in, ALL_BITS(entry));
    return VALUE(entry) + extra;
}

/* A copy of the bytes `distance` before; in steps of many bytes where there is room for more than is
 * asked. A distance below 8 is made a multiple of itself that is not.
 */
INLINE void copy(uint8_t *out, int64_t distance, int64_t length, int64_t room) {
    static const uint8_t BEHIND[8] = {0, 1, 2, 1, 0, 4, 4, 4}; /* of the second four bytes */
    static const uint8_t MULTIPLE[8] = {0, 8, 8, 9, 8, 10, 12, 14};
    const uint8_t *from = out - distance;
    if (distance == 1)
        memset(out, *from, (size_t)length);
    else if (room < 258 + 64)
        for (int64_t i = 0; i < length; i++) out[i] = from[i];
    else if (distance >= 16) {
        for (int64_t i = 0; i < 64; i += 16) memcpy(out + i, from + i, 16);
        for (int64_t i = 64; i < length; i += 16) memcpy(out + i, from + i, 16);
    } else {
        if (distance < 8) {
            for (int i = 0; i < 4; i++) out[i] = from[i];
            memcpy(out + 4, from + BEHIND[distance], 4);
            from = out - MULTIPLE[distance];
        } else
            memcpy(out, from, 8);
        for (int64_t i = 8; i < length; i += 8) memcpy(out + i, from + i, 8);
    }
}

/* The end of a block that is written from `out` on; NULL if it is none, or does not fit. */
INLINE uint8_t *coded_block(Input *source, const Tables *tables, const uint8_t *begin, uint8_t *out,
                            const uint8_t *end) {
    Input in = *source;
    refill(&in);
    /* Looked up before the refill: it fills 64 bits, of which a literal with a short code, a length
     * and a distance take 53.
     */
    uint32_t next = entry_at(&in, tables->literals, LITERAL_BITS);
    for (;;) {
        refill(&in);
        uint32_t entry = next;
        if (in.next > in.end + 7) return NULL; /* bytes of which no bit was taken */
        if (entry & LITERAL && out != end) {
            take(&in, ALL_BITS(entry));
            next = entry_at(&in, tables->literals, LITERAL_BITS);
            *out++ = (uint8_t)VALUE(entry);
            if (next & (LITERAL | SECOND)) continue;
            entry = next;
        }
        entry = followed(entry, &in, tables->literals, LITERAL_BITS);
        if (!entry) return NULL;
        if (entry & LITERAL) {
            if (out == end) return NULL;
            take(&in, ALL_BITS(entry));
            next = entry_at(&in, tables->literals, LITERAL_BITS);
            *out++ = (uint8_t)VALUE(entry);
            continue;
        }
        int64_t length = value_of(&in, entry);
        if (entry & END) break;
        entry = entry_at(&in, tables->distances, DISTANCE_BITS);
        entry = followed(entry, &in, tables->distances, DISTANCE_BITS);
        if (!entry) return NULL;
        int64_t distance = value_of(&in, entry);
        next = entry_at(&in, tables->literals, LITERAL_BITS);
        if (distance > out - begin || length > end - out) return NULL;
        copy(out, distance, length, end - out);
        out += length;
    }
    *source = in;
    return out;
}

static uint8_t *stored_block(Input *in, uint8_t *out, const uint8_t *end) {
    const uint8_t *at = position(in);
    if (in->end - at < 4) return NULL;
    int64_t size = at[0] | at[1] << 8, check = at[2] | at[3] << 8;
    at += 4;
    if ((size ^ check) != 0xFFFF || size > in->end - at || size > end - out) return NULL;
    memcpy(out, at, (size_t)size);
    in->next = at + size;
    in->bits = in->n_bits = 0;
    return out + size;
}

/* Bytes that are summed at the same time, and so many times that no sum of theirs wraps. */
#define LANES 32
#define ROWS 16

PASS static uint32_t adler32(const uint8_t *in, int64_t n) {
    uint32_t a = 1, b = 0;
    while (n >= LANES) {
        int64_t rows = n / LANES < ROWS ? n / LANES : ROWS;
        uint16_t sums[LANES] = {0};
        uint16_t before[LANES] = {0};
        for (int64_t row = 0; row < rows; row++, in += LANES)
            for (int i = 0; i < LANES; i++) {
                before[i] = (uint16_t)(before[i] + sums[i]);
                sums[i] = (uint16_t)(sums[i] + in[i]);
            }
        uint32_t total = 0, weighted = 0;
        for (uint32_t i = 0; i < LANES; i++) {
            total += sums[i];
            weighted += before[i] * LANES + sums[i] * (LANES - i);
        }
        b = (b + (uint32_t)rows * LANES * a + weighted) % 65521;
        a = (a + total) % 65521;
        n -= rows * LANES;
    }
    for (; n; n--) {
        a = (a + *in++) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

/* 1 if n packed bytes are exactly a stream of `size` bytes. */
SHIFTS static int inflate(const uint8_t *packed, int64_t n, Tables *tables, uint8_t *out, int64_t size) {
    const uint8_t *end = out + size;
    if (n < 6 || (packed[0] & 15) != 8 || packed[0] >> 4 > 7) return 0;
    if (packed[1] & 32 || (packed[0] << 8 | packed[1]) % 31) return 0;
    Input in = {packed + 2, packed + n - 4, 0, 0};
    uint8_t *at = out;
    for (uint32_t is_last = 0; !is_last;) {
        refill(&in);
        is_last = take(&in, 1);
        uint32_t kind = take(&in, 2);
        if (kind == 0)
            at = stored_block(&in, at, end);
        else if (kind == 1 ? fixed_codes(tables) : kind == 2 && read_codes(&in, tables))
            at = coded_block(&in, tables, out, at, end);
        else
            return 0;
        if (!at || position(&in) > in.end) return 0;
    }
    const uint8_t *sum = in.end;
    uint32_t expected = (uint32_t)sum[0] << 24 | (uint32_t)(sum[1] << 16 | sum[2] << 8 | sum[3]);
    return at == end && position(&in) == in.end && expected == adler32(out, size);
}

/* Bytes of a file that were read. */
typedef struct {
    uint64_t start, size;
} Window;

INLINE int holds(const Window *window, uint64_t start, uint64_t size) {
    uint64_t before = start - window->start;
    return start >= window->start && before <= window->size && size <= window->size - before;
}

/* Chunks of `size` bytes, one after the other: the number of those before the first that is not one,
 * or could not be read. They take turns with windows of `room` bytes with PADDING: one is read where
 * neither it, from a call before, nor that of the chunk before holds the chunk.
 */
int64_t slaf_inflate(int32_t file, const uint64_t *starts, const uint64_t *sizes, int64_t n,
                     Window *restrict windows, uint8_t *restrict data, int64_t n_windows, uint64_t room,
                     uint8_t *restrict out, int64_t size) {
    Tables tables;
    uint16_t one = 1;
    if (!*(uint8_t *)&one) return 0; /* bits are read in the order of bytes of small ends */
    for (int64_t i = 0, at = 0; i < n; i++, out += size) {
        if (room < PADDING || sizes[i] > room - PADDING || starts[i] > INT64_MAX) return i;
        if (!holds(&windows[at], starts[i], sizes[i])) at = i % n_windows;
        uint8_t *bytes = data + (uint64_t)at * room;
        if (!holds(&windows[at], starts[i], sizes[i])) {
            ssize_t found = pread(file, bytes, room - PADDING, (off_t)starts[i]);
            windows[at] = (Window){starts[i], found < 0 ? 0 : (uint64_t)found};
            memset(bytes + windows[at].size, 0, PADDING);
            if (windows[at].size < sizes[i]) return i;
        }
        bytes += starts[i] - windows[at].start;
        if (!inflate(bytes, (int64_t)sizes[i], &tables, out, size)) return i;
    }
    return n;
}
