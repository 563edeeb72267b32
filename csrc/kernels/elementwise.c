/* One pass over memory, element by element:
 *
 *   relu_forward    y = max(x, 0), NaN stays NaN          relu_backward   grad_x = x <= 0 ? 0 : grad_y
 *   dropout_mask    mask[i] = hash(i, seed) >= threshold   dropout_apply   y = mask ? x * scale : 0
 *   gather_image    y = byte * scale + offset              add_number      x += number
 *
 * All of them are bound by memory: a plain loop over vectors, then one masked vector for the tail, so that a element's
 * result does not depend on its place in the array. */

void KERNEL(relu_forward)(const real *x, real *y, ptrdiff_t n) {
    const vec zero = {0};
    ptrdiff_t i = 0;
#pragma GCC unroll 4
    for (; i + LANES <= n; i += LANES) vec_store(y + i, vec_max(zero, vec_load(x + i)));
    if (i < n) vec_store_n(y + i, vec_max(zero, vec_load_n(x + i, (int)(n - i))), (int)(n - i));
}

void KERNEL(relu_backward)(const real *grad_y, const real *x, real *grad_x, ptrdiff_t n) {
    const vec zero = {0};
    ptrdiff_t i = 0;
#pragma GCC unroll 4
    for (; i + LANES <= n; i += LANES)
        vec_store(grad_x + i, vec_select(vec_load(x + i) <= zero, zero, vec_load(grad_y + i)));
    if (i < n) {
        const int tail = (int)(n - i);
        vec_store_n(grad_x + i, vec_select(vec_load_n(x + i, tail) <= zero, zero, vec_load_n(grad_y + i, tail)), tail);
    }
}

void KERNEL(add_number)(real *x, ptrdiff_t n, real number) {
    const vec add = vec_set1(number);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) vec_store(x + i, vec_load(x + i) + add);
    if (i < n) vec_store_n(x + i, vec_load_n(x + i, (int)(n - i)) + add, (int)(n - i));
}

#ifndef FC_HASH
#define FC_HASH
/* 32 well-mixed bits a lane: two rounds of multiply and xorshift with the constants of Chris Wellons' "Hash prospector"
 * (lowbias32).  h: the unit's number times 0x9E3779B9, xor the lower half of the seed. */
FC_INLINE uvec fc_hash(uvec h, uint32_t add, uint32_t low) {
    h += add;
    h ^= h >> 16;
    h *= 0x7FEB352Du;
    h ^= h >> 15;
    h *= 0x846CA68Bu;
    h ^= h >> 16;
    h += low;
    h ^= h >> 16;
    h *= 0x7FEB352Du;
    h ^= h >> 15;
    return h;
}
#endif

/* mask[i] of the units first .. first + n - 1, whose numbers share their upper 32 bits.  Lanes are 32 bits wide for
 * double too, so that both types drop the same units. */
void KERNEL(dropout_mask)(uint8_t *mask, uint64_t first, ptrdiff_t n, uint64_t seed, uint32_t threshold) {
    enum { LANES_32 = FC_VBYTES / 4 };
    const uint32_t low = (uint32_t)seed;
    const uint32_t add = (uint32_t)(seed >> 32) ^ ((uint32_t)(first >> 32) * 0x85EBCA6Bu);
    uvec counter = ((uvec)iota_f32() + (uint32_t)first) * 0x9E3779B9u;
    ptrdiff_t i = 0;
    for (; i + LANES_32 <= n; i += LANES_32, counter += LANES_32 * 0x9E3779B9u)
        to_bytes_f32(mask + i, (ivec_f32)(fc_hash(counter ^ low, add, low) >= threshold) & 1);
    if (i < n) to_bytes_n_f32(mask + i, (ivec_f32)(fc_hash(counter ^ low, add, low) >= threshold) & 1, (int)(n - i));
}

/* A dropped element is 0 even where x is NaN or inf. */
void KERNEL(dropout_apply)(const real *x, const uint8_t *mask, real *y, ptrdiff_t n, real scale) {
    const vec zero = {0}, factor = vec_set1(scale);
    ptrdiff_t i = 0;
#pragma GCC unroll 4
    for (; i + LANES <= n; i += LANES)
        vec_store(y + i, vec_select(ivec_from_bytes(mask + i) != 0, vec_load(x + i) * factor, zero));
    if (i < n) {
        const int tail = (int)(n - i);
        const ivec keep = ivec_from_bytes_n(mask + i, tail) != 0;
        vec_store_n(y + i, vec_select(keep, vec_load_n(x + i, tail) * factor, zero), tail);
    }
}

/* One mask byte for each run of `unit` elements. */
void KERNEL(dropout_apply_units)(const real *x, const uint8_t *mask, real *y, ptrdiff_t units, ptrdiff_t unit,
                                    real scale) {
    const vec factor = vec_set1(scale);
    for (ptrdiff_t u = 0; u < units; u++, x += unit, y += unit) {
        if (!mask[u]) {
            memset(y, 0, (size_t)unit * sizeof *y);
            continue;
        }
        ptrdiff_t i = 0;
        for (; i + LANES <= unit; i += LANES) vec_store(y + i, vec_load(x + i) * factor);
        if (i < unit) vec_store_n(y + i, vec_load_n(x + i, (int)(unit - i)) * factor, (int)(unit - i));
    }
}

/* n bytes of one image */
void KERNEL(gather_image)(const uint8_t *image, real *y, ptrdiff_t n, real scale, real offset) {
    const vec factor = vec_set1(scale), shift = vec_set1(offset);
    ptrdiff_t i = 0;
#pragma GCC unroll 4
    for (; i + LANES <= n; i += LANES) {
        const vec value = vec_bytes_to_real(ivec_from_bytes(image + i)) * factor;
        vec_store(y + i, value + shift);
    }
    if (i < n) {
        const vec value = vec_bytes_to_real(ivec_from_bytes_n(image + i, (int)(n - i))) * factor;
        vec_store_n(y + i, value + shift, (int)(n - i));
    }
}
