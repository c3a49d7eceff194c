/* The passes over every entry of a matrix; reference.py has the same ones in numpy. See also inflate.c.
 *
 * Plain C, called by ctypes: nothing of Python is used, so that one library serves all versions of
 * it, and no pass holds the lock of the interpreter. A pass refuses what it cannot do: the caller
 * then goes the exact way, which also says what is wrong, and where.
 */

#include <float.h>
#include <stdint.h>
#include <string.h>

/* Raised with every change of what a function takes or does; __init__.py has it too. */
#define VERSION 9

/* Each pass for processors with AVX2 and for others; the dynamic linker chooses. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define PASS __attribute__((target_clones("avx2", "default")))
#else
#define PASS
#endif

/* Elements that are judged together, so that their loop has no branch. */
#define BLOCK 4096

#define FOR_BLOCKS \
    for (int64_t start = 0, stop; stop = start + BLOCK < n ? start + BLOCK : n, start < n; start = stop)

int32_t slaf_version(void) { return VERSION; }

/* Casts: 1 if every value is held exactly; else 0, and the output is incomplete. */
#define CAST(NAME, FROM, TO, ...)                                                \
    PASS int32_t NAME(const FROM *restrict in, TO *restrict out, int64_t n) {    \
        FOR_BLOCKS {                                                             \
            uint32_t wrong = 0;                                                  \
            for (int64_t i = start; i < stop; i++) {                             \
                __VA_ARGS__                                                      \
            }                                                                    \
            if (wrong) return 0;                                                 \
        }                                                                        \
        return 1;                                                                \
    }

/* A float that is added to 2**23, or 2**52 as a double, is rounded to a whole number, which is in
 * the low bits of the sum. Of a number out of range, or NaN, the high bits differ too.
 */
#define FLOAT_TO(NAME, FROM, TO, WIDE, BITS, ONE, ONE_BITS)                      \
    CAST(NAME, FROM, TO,                                                         \
         WIDE x = in[i], sum = x + ONE;                                          \
         BITS bits;                                                              \
         memcpy(&bits, &sum, sizeof bits);                                       \
         bits ^= ONE_BITS;                                                       \
         out[i] = (TO)bits;                                                      \
         wrong |= (bits > (TO)-1) | (sum - ONE != x);)

#define FLOAT_ONE 8388608.0f, UINT32_C(0x4B000000)
#define DOUBLE_ONE 4503599627370496.0, UINT64_C(0x4330000000000000)
#define FLOAT_TO_(...) FLOAT_TO(__VA_ARGS__)

/* As an unsigned number a negative one is huge. */
#define INT_TO(NAME, FROM, TO, BITS)                                             \
    CAST(NAME, FROM, TO,                                                         \
         FROM x = in[i];                                                         \
         out[i] = (TO)x;                                                         \
         wrong |= (x >> BITS) != 0;)

FLOAT_TO_(slaf_cast_f4_u2, float, uint16_t, float, uint32_t, FLOAT_ONE)
FLOAT_TO_(slaf_cast_f8_u2, double, uint16_t, double, uint64_t, DOUBLE_ONE)
FLOAT_TO_(slaf_cast_f4_u4, float, uint32_t, double, uint64_t, DOUBLE_ONE)
FLOAT_TO_(slaf_cast_f8_u4, double, uint32_t, double, uint64_t, DOUBLE_ONE)
INT_TO(slaf_cast_i4_u2, uint32_t, uint16_t, 16)
INT_TO(slaf_cast_i8_u2, uint64_t, uint16_t, 16)
INT_TO(slaf_cast_i4_u4, uint32_t, uint32_t, 31)
INT_TO(slaf_cast_i8_u4, uint64_t, uint32_t, 32)

/* Positions as uint32, written from out[at] on: the number of those that are not above the one
 * before, or -1 if one is beyond `last`.
 */
#define POSITIONS(NAME, FROM)                                                           \
    PASS int64_t NAME(const FROM *restrict in, uint32_t *restrict out, int64_t at, int64_t n, uint32_t last) { \
        int64_t descents = n && at && in[0] <= out[at - 1];                             \
        out += at;                                                                      \
        FOR_BLOCKS {                                                                    \
            uint32_t wrong = 0, down = 0;                                               \
            for (int64_t i = start; i < stop; i++) {                                    \
                out[i] = (uint32_t)in[i];                                               \
                wrong |= in[i] > last;                                                  \
            }                                                                           \
            if (wrong) return -1;                                                       \
            for (int64_t i = start ? start : 1; i < stop; i++)                          \
                down += out[i] <= out[i - 1];                                           \
            descents += down;                                                           \
        }                                                                               \
        return descents;                                                                \
    }

POSITIONS(slaf_positions_4, uint32_t)
POSITIONS(slaf_positions_8, uint64_t)

/* first, first + 1, …, each as often as `counts` says. */
PASS void slaf_repeat(uint32_t first, const int64_t *counts, int64_t n, uint32_t *restrict out) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t id = first + (uint32_t)i;
        for (int64_t k = 0; k < counts[i]; k++) out[k] = id;
        out += counts[i];
    }
}

/* The sum and the sum of squares, the least and the largest of n > 0 numbers. No sum wraps: n is
 * at most 2**31.
 */
PASS void slaf_sums_u2(const uint16_t *in, int64_t n, uint64_t *out) {
    uint64_t sum = 0, squares = 0;
    uint16_t least = in[0], largest = in[0];
    for (int64_t i = 0; i < n; i++) {
        uint32_t x = in[i];
        sum += x;
        squares += x * x;
        least = in[i] < least ? in[i] : least;
        largest = in[i] > largest ? in[i] : largest;
    }
    out[0] = sum;
    out[1] = squares;
    out[2] = least;
    out[3] = largest;
}

/* Elements whose first bytes were stored together, then their second bytes, and so on. */
#define UNSHUFFLE(NAME, T, ONE)                                          \
    PASS void NAME(const uint8_t *restrict in, T *restrict out, int64_t n) {               \
        for (int64_t i = 0; i < n; i++) out[i] = ONE;                    \
    }

#define BYTE(T, K) ((T)in[i + (K) * n] << (8 * (K)))
UNSHUFFLE(slaf_unshuffle_2, uint16_t, (uint16_t)(BYTE(uint16_t, 0) | BYTE(uint16_t, 1)))
UNSHUFFLE(slaf_unshuffle_4, uint32_t,
          BYTE(uint32_t, 0) | BYTE(uint32_t, 1) | BYTE(uint32_t, 2) | BYTE(uint32_t, 3))
UNSHUFFLE(slaf_unshuffle_8, uint64_t,
          BYTE(uint64_t, 0) | BYTE(uint64_t, 1) | BYTE(uint64_t, 2) | BYTE(uint64_t, 3) |
          BYTE(uint64_t, 4) | BYTE(uint64_t, 5) | BYTE(uint64_t, 6) | BYTE(uint64_t, 7))

/* A part of a dense matrix, in any order of memory; addresses in bytes, strides in elements. */
typedef struct {
    int64_t address, cell, gene, n_cells, n_genes, cell_stride, gene_stride;
} Tile;

/* Elements that are tested together: most of a matrix of counts are zero. */
#define GROUP 32

/* A bit for each element of a group that is not zero. */
#define BITS_OF(T)                                                                        \
    static inline __attribute__((always_inline)) uint32_t bits_##T(const T *group, T mask) { \
        uint32_t bits = 0;                                                                \
        for (int i = 0; i < GROUP; i++) bits |= (uint32_t)((group[i] & mask) != 0) << i;  \
        return bits;                                                                      \
    }

/* An element is zero if its bits under the mask are: those of a float without its sign. */
#define COUNT(NAME, T)                                                                   \
    PASS void NAME(const Tile *tiles, int64_t n, T mask, uint32_t *restrict counts) {    \
        for (const Tile *tile = tiles; tile < tiles + n; tile++) {                       \
            const T *in = (const T *)(intptr_t)tile->address;                            \
            uint32_t *of = counts + tile->cell;                                          \
            int64_t to_cell = tile->cell_stride, to_gene = tile->gene_stride;            \
            if (to_cell == 1) {                                                          \
                for (int64_t g = 0; g < tile->n_genes; g++, in += to_gene)               \
                    for (int64_t c = 0; c < tile->n_cells; c++)                          \
                        of[c] += (in[c] & mask) != 0;                                    \
                continue;                                                                \
            }                                                                            \
            for (int64_t c = 0; c < tile->n_cells; c++, in += to_cell) {                 \
                uint32_t count = 0;                                                      \
                if (to_gene == 1)                                                        \
                    for (int64_t g = 0; g < tile->n_genes; g++)                          \
                        count += (in[g] & mask) != 0;                                    \
                else                                                                     \
                    for (int64_t g = 0; g < tile->n_genes; g++)                          \
                        count += (in[g * to_gene] & mask) != 0;                          \
                of[c] += count;                                                          \
            }                                                                            \
        }                                                                                \
    }

/* A matrix of 64 × 64 bits with its rows as columns. */
static inline __attribute__((always_inline)) void transpose(uint64_t *rows) {
    uint64_t low = 0xFFFFFFFF;
    for (int half = 32; half; half >>= 1, low ^= low << half)
        for (int block = 0; block < 64; block += 2 * half)
            for (int i = block; i < block + half; i++) {
                uint64_t changed = (rows[i] >> half ^ rows[i + half]) & low;
                rows[i] ^= changed << half;
                rows[i + half] ^= changed;
            }
}

/* The same for elements that are stored by gene, by squares of 64 cells and 64 genes: entries of one
 * cell are written together, not of 64 in turn. `of` are the places of the cells from `low` on, of
 * which the next lines are fetched ahead: the processor follows fewer of them.
 */
#define SQUARES(T)                                                                       \
    static inline __attribute__((always_inline)) int squares_##T(                        \
        const T *in, int64_t to_gene, int64_t n_cells, int64_t n_genes, uint32_t gene,   \
        T mask, int64_t *restrict of, uint32_t *restrict genes, T *restrict values,      \
        int64_t size) {                                                                  \
        for (int64_t g = 0; g < n_genes; g += 64)                                        \
            for (int64_t c = 0; c < n_cells; c += 64) {                                  \
                uint64_t bits[64] = {0};                                                 \
                const T *square = in + g * to_gene + c;                                  \
                int64_t height = n_genes - g < 64 ? n_genes - g : 64;                    \
                int64_t width = n_cells - c < 64 ? n_cells - c : 64;                     \
                for (int64_t i = 0; i < height; i++) {                                   \
                    const T *row = square + i * to_gene;                                 \
                    if (width == 64)                                                     \
                        bits[i] = bits_##T(row, mask) |                                  \
                                  (uint64_t)bits_##T(row + GROUP, mask) << GROUP;        \
                    else                                                                 \
                        for (int64_t k = 0; k < width; k++)                              \
                            bits[i] |= (uint64_t)((row[k] & mask) != 0) << k;            \
                }                                                                        \
                transpose(bits);                                                         \
                for (int64_t k = 0; k < width; k++) {                                    \
                    uint64_t left = bits[k];                                             \
                    int64_t at = of[c + k];                                              \
                    if (at + __builtin_popcountll(left) > size) return 0;                \
                    for (; left; left &= left - 1, at++) {                               \
                        int64_t i = __builtin_ctzll(left);                               \
                        genes[at] = gene + (uint32_t)(g + i);                            \
                        values[at] = square[i * to_gene + k];                            \
                    }                                                                    \
                    __builtin_prefetch(genes + at + 16, 1);                              \
                    __builtin_prefetch(values + at + 64 / sizeof(T), 1);                 \
                    of[c + k] = at;                                                      \
                }                                                                        \
            }                                                                            \
        return 1;                                                                        \
    }

/* The nonzero elements of the cells from `first` to `stop`: at[c] is where the next one of cell c is
 * written. The tiles of a cell are in the order of genes.
 */
#define FILL(NAME, T)                                                                    \
    PASS void NAME(const Tile *tiles, int64_t n, T mask, int64_t first, int64_t stop,    \
                   int64_t *restrict at, uint32_t *restrict genes, T *restrict values,   \
                   int64_t size) {                                                       \
        for (const Tile *tile = tiles; tile < tiles + n; tile++) {                       \
            const T *in = (const T *)(intptr_t)tile->address;                            \
            int64_t to_cell = tile->cell_stride, to_gene = tile->gene_stride;            \
            int64_t low = first > tile->cell ? first - tile->cell : 0;                   \
            int64_t high = stop < tile->cell + tile->n_cells ? stop - tile->cell : tile->n_cells; \
            int by_gene = to_cell == 1;                                                  \
            int64_t n_outer = by_gene ? tile->n_genes : high;                            \
            int64_t start = by_gene ? low : 0, end = by_gene ? high : tile->n_genes;     \
            int64_t to_outer = by_gene ? to_gene : to_cell, to_inner = by_gene ? 1 : to_gene; \
            int64_t *of = at + tile->cell - first;                                       \
            if (by_gene && tile->n_genes >= GROUP && high - low >= GROUP) {              \
                if (!squares_##T(in + low, to_gene, high - low, tile->n_genes,           \
                                 (uint32_t)tile->gene, mask, of + low, genes, values, size)) \
                    return; /* changed since they were counted */                        \
                continue;                                                                \
            }                                                                            \
            for (int64_t outer = by_gene ? 0 : low; outer < n_outer; outer++) {          \
                const T *row = in + outer * to_outer;                                    \
                for (int64_t i = start; i < end; i += GROUP) {                           \
                    int64_t left = end - i;                                              \
                    uint32_t bits = 0;                                                   \
                    if (to_inner == 1 && left >= GROUP)                                  \
                        bits = bits_##T(row + i, mask);                                  \
                    else                                                                 \
                        for (int64_t k = 0; k < left && k < GROUP; k++)                  \
                            bits |= (uint32_t)((row[(i + k) * to_inner] & mask) != 0) << k; \
                    for (; bits; bits &= bits - 1) {                                     \
                        int64_t inner = i + __builtin_ctz(bits);                         \
                        int64_t k = of[by_gene ? inner : outer]++;                       \
                        if (k >= size) return; /* changed since they were counted */     \
                        genes[k] = (uint32_t)(tile->gene + (by_gene ? outer : inner));   \
                        values[k] = row[inner * to_inner];                               \
                    }                                                                    \
                }                                                                        \
            }                                                                            \
        }                                                                                \
    }

#define NONZEROS(SIZE, T)              \
    BITS_OF(T)                         \
    SQUARES(T)                         \
    COUNT(slaf_count_##SIZE, T)        \
    FILL(slaf_fill_##SIZE, T)

NONZEROS(1, uint8_t)
NONZEROS(2, uint16_t)
NONZEROS(4, uint32_t)
NONZEROS(8, uint64_t)

/* The sum of each row of entries: of whole numbers of which 64 bits hold it, of floats from left to
 * right.
 */
#define ROW_SUMS(NAME, T, SUM)                                                           \
    PASS void NAME(const int64_t *counts, int64_t n, const T *restrict in, SUM *restrict out) { \
        for (int64_t row = 0; row < n; row++) {                                          \
            SUM sum = 0;                                                                 \
            for (int64_t i = 0; i < counts[row]; i++) sum += (SUM)in[i];                 \
            out[row] = sum;                                                              \
            in += counts[row];                                                           \
        }                                                                                \
    }

ROW_SUMS(slaf_row_sums_u2, uint16_t, uint64_t)
ROW_SUMS(slaf_row_sums_u4, uint32_t, uint64_t)
ROW_SUMS(slaf_row_sums_i4, int32_t, int64_t)
ROW_SUMS(slaf_row_sums_i8, uint64_t, uint64_t)
ROW_SUMS(slaf_row_sums_f4, float, double)
ROW_SUMS(slaf_row_sums_f8, double, double)

/* The entries of each row times its factor, rounded once: 1 if one is infinite, else 0. */
#define SCALE(NAME, FROM, TO, LARGEST)                                                   \
    PASS int32_t NAME(const int64_t *counts, int64_t n, const FROM *restrict in,         \
                      const double *factors, TO *restrict out) {                         \
        int32_t beyond = 0;                                                              \
        for (int64_t row = 0; row < n; row++) {                                          \
            double factor = factors[row];                                                \
            for (int64_t i = 0; i < counts[row]; i++) {                                  \
                TO x = (TO)((double)in[i] * factor);                                     \
                out[i] = x;                                                              \
                beyond |= (x > LARGEST) | (x < -LARGEST);                                \
            }                                                                            \
            in += counts[row];                                                           \
            out += counts[row];                                                          \
        }                                                                                \
        return beyond;                                                                   \
    }

SCALE(slaf_scale_u2_f4, uint16_t, float, FLT_MAX)
SCALE(slaf_scale_u4_f4, uint32_t, float, FLT_MAX)
SCALE(slaf_scale_i4_f4, int32_t, float, FLT_MAX)
SCALE(slaf_scale_f4_f4, float, float, FLT_MAX)
SCALE(slaf_scale_f8_f8, double, double, DBL_MAX)

/* The entries in some columns, each at its place among these, or none below 0, and their number in
 * each row: how many there are; -1 if a column is outside. There is room for all entries.
 */
#define SELECT(NAME, COLUMN, VALUE)                                                      \
    PASS int64_t NAME(const int64_t *counts, int64_t n, const COLUMN *columns,           \
                      const VALUE *values, const int32_t *places, int64_t n_places,      \
                      int64_t *restrict out_counts, uint32_t *restrict out_columns,      \
                      VALUE *restrict out_values) {                                      \
        int64_t at = 0;                                                                  \
        for (int64_t row = 0; row < n; row++) {                                          \
            int64_t start = at;                                                          \
            for (int64_t i = 0; i < counts[row]; i++) {                                  \
                if (columns[i] >= n_places) return -1;                                   \
                int32_t place = places[columns[i]];                                      \
                out_columns[at] = (uint32_t)place;                                       \
                out_values[at] = values[i];                                              \
                at += place >= 0;                                                        \
            }                                                                            \
            out_counts[row] = at - start;                                                \
            columns += counts[row];                                                      \
            values += counts[row];                                                       \
        }                                                                                \
        return at;                                                                       \
    }

#define SELECTS(SIZE, VALUE)                       \
    SELECT(slaf_select_2_##SIZE, uint16_t, VALUE)  \
    SELECT(slaf_select_4_##SIZE, uint32_t, VALUE)

SELECTS(1, uint8_t)
SELECTS(2, uint16_t)
SELECTS(4, uint32_t)
SELECTS(8, uint64_t)

/* Rows from anywhere in memory, one after the other, in a type that holds them. */
#define GATHER(NAME, FROM, TO)                                                   \
    PASS void NAME(const int64_t *rows, const int64_t *counts, int64_t n, TO *restrict out) { \
        for (int64_t row = 0; row < n; row++) {                                  \
            const FROM *restrict in = (const FROM *)(intptr_t)rows[row];         \
            for (int64_t i = 0; i < counts[row]; i++) out[i] = (TO)in[i];        \
            out += counts[row];                                                  \
        }                                                                        \
    }

GATHER(slaf_gather_u2_i4, uint16_t, int32_t)
GATHER(slaf_gather_u4_i4, uint32_t, int32_t)
GATHER(slaf_gather_u2_f4, uint16_t, float)
GATHER(slaf_gather_f4_f4, float, float)

/* Rows of entries as whole rows, zero elsewhere: 1; or 0 if an entry is outside. */
PASS int32_t slaf_dense(const int64_t *indptr, const uint32_t *genes, const float *values,
                        int64_t n, int64_t n_genes, float *restrict out) {
    for (int64_t row = 0; row < n; row++, out += n_genes) {
        memset(out, 0, (size_t)n_genes * sizeof *out);
        for (int64_t i = indptr[row]; i < indptr[row + 1]; i++) {
            if (genes[i] >= n_genes) return 0;
            out[genes[i]] = values[i];
        }
    }
    return 1;
}

/* A whole number of at most nine digits, and the byte behind it; -1 if there is none. */
static inline int64_t number(const uint8_t **text, const uint8_t *end, uint8_t behind) {
    const uint8_t *at = *text;
    uint32_t value = 0;
    while (at < end && (uint8_t)(*at - '0') < 10) value = value * 10 + (*at++ - '0');
    if (at == *text || at - *text > 9 || at == end || *at != behind) return -1;
    *text = at + 1;
    return value;
}

/* Lines of an MTX file, "ROW COLUMN VALUE" or "ROW COLUMN", with rows and columns from 1: the number
 * of entries; -1 if a line is anything else, or out of range. Each line has room for an entry.
 */
#define ENTRIES(NAME, VALUE)                                                             \
    int64_t NAME(const uint8_t *text, int64_t size, uint32_t n_rows, uint32_t n_columns, \
                 uint32_t *rows, uint32_t *columns, VALUE *values) {                     \
        const uint8_t *end = text + size;                                                \
        int64_t n = 0;                                                                   \
        for (; text < end; n++) {                                                        \
            int64_t row = number(&text, end, ' ');                                       \
            if (row < 1 || row > n_rows) return -1;                                      \
            int64_t column = number(&text, end, values ? ' ' : '\n');                    \
            if (column < 1 || column > n_columns) return -1;                             \
            rows[n] = (uint32_t)row - 1;                                                 \
            columns[n] = (uint32_t)column - 1;                                           \
            if (!values) continue;                                                       \
            int64_t value = number(&text, end, '\n');                                    \
            if (value < 0) return -1;                                                    \
            values[n] = (VALUE)value;                                                    \
        }                                                                                \
        return n;                                                                        \
    }

ENTRIES(slaf_entries_i8, int64_t)
ENTRIES(slaf_entries_f8, double)

/* The bucket of a cell: exact for all numbers of 32 bits. Lemire and others, "Faster remainder by
 * direct computation" (2019).
 */
#ifdef __SIZEOF_INT128__
#define RECIPROCAL(width) ((width) > 1 ? UINT64_MAX / (width) + 1 : 0)
#define BUCKET(cell) (uint32_t)(once ? (unsigned __int128)once * (cell) >> 64 : (cell))
#else
#define RECIPROCAL(width) (width)
#define BUCKET(cell) ((cell) / once)
#endif

/* Records of a cell, a gene and a value, without gaps. */
#define RECORDS(SIZES, GENE, VALUE)                                                             \
    enum { size_##SIZES = 2 + sizeof(GENE) + sizeof(VALUE) };                                   \
    /* Entries as records, by bucket and in their order: 1 and the first of each bucket; or 0 */ \
    /* if a cell is in none. `bounds` is zero, and longer than `next` by one. */                \
    PASS int32_t slaf_distribute_##SIZES(                                                       \
        const uint32_t *cells, const uint32_t *genes, const VALUE *values, int64_t n,           \
        uint32_t width, int64_t n_buckets, int64_t *bounds, int64_t *next, uint8_t *restrict out) { \
        uint64_t once = RECIPROCAL(width);                                                      \
        for (int64_t i = 0; i < n; i++) {                                                       \
            uint32_t bucket = BUCKET(cells[i]);                                                 \
            if (bucket >= n_buckets) return 0;                                                  \
            bounds[bucket + 1]++;                                                               \
        }                                                                                       \
        for (int64_t k = 0; k < n_buckets; k++) bounds[k + 1] += next[k] = bounds[k];           \
        for (int64_t i = 0; i < n; i++) {                                                       \
            uint32_t bucket = BUCKET(cells[i]);                                                 \
            uint16_t cell = (uint16_t)(cells[i] - bucket * width);                              \
            GENE gene = (GENE)genes[i];                                                         \
            uint8_t *at = out + next[bucket]++ * size_##SIZES;                                  \
            memcpy(at, &cell, 2);                                                               \
            memcpy(at + 2, &gene, sizeof gene);                                                 \
            memcpy(at + 2 + sizeof gene, values + i, sizeof(VALUE));                            \
        }                                                                                       \
        return 1;                                                                               \
    }                                                                                           \
    /* Records to their places, `ends[cell]` on: 1; or 0 if a cell or a place does not exist. */ \
    PASS int32_t slaf_place_##SIZES(const uint8_t *records, int64_t n, int64_t n_cells,         \
                                    int64_t *ends, GENE *restrict genes,                        \
                                    VALUE *restrict values, int64_t size) {                     \
        for (const uint8_t *stop = records + n * size_##SIZES; records < stop;                  \
             records += size_##SIZES) {                                                         \
            uint16_t cell;                                                                      \
            memcpy(&cell, records, 2);                                                          \
            if (cell >= n_cells || ends[cell] < 0 || ends[cell] >= size) return 0;              \
            int64_t place = ends[cell]++;                                                       \
            memcpy(genes + place, records + 2, sizeof(GENE));                                   \
            memcpy(values + place, records + 2 + sizeof(GENE), sizeof(VALUE));                  \
        }                                                                                       \
        return 1;                                                                               \
    }

RECORDS(2_1, uint16_t, uint8_t)
RECORDS(2_2, uint16_t, uint16_t)
RECORDS(2_4, uint16_t, uint32_t)
RECORDS(2_8, uint16_t, uint64_t)
RECORDS(4_1, uint32_t, uint8_t)
RECORDS(4_2, uint32_t, uint16_t)
RECORDS(4_4, uint32_t, uint32_t)
RECORDS(4_8, uint32_t, uint64_t)

/* How many records each cell has is added to `counts`: 1; or 0 if a cell does not exist. */
int32_t slaf_count_cells(const uint8_t *records, int64_t n, int64_t itemsize, int64_t n_cells,
                         int64_t *counts) {
    for (int64_t i = 0; i < n; i++, records += itemsize) {
        uint16_t cell;
        memcpy(&cell, records, 2);
        if (cell >= n_cells) return 0;
        counts[cell]++;
    }
    return 1;
}
