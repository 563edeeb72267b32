/* Parts of the vocabulary for instruction sets without masked loads, stores and blends, in plain C. */
FC_INLINE vec_f32 load_n_f32(const float *p, int n) {
    float lane[FC_LANES_f32] = {0};
    for (int i = 0; i < n; i++) lane[i] = p[i];
    return load_f32(lane);
}
FC_INLINE vec_f64 load_n_f64(const double *p, int n) {
    double lane[FC_LANES_f64] = {0};
    for (int i = 0; i < n; i++) lane[i] = p[i];
    return load_f64(lane);
}
FC_INLINE void store_n_f32(float *p, vec_f32 v, int n) {
    for (int i = 0; i < n; i++) p[i] = v[i];
}
FC_INLINE void store_n_f64(double *p, vec_f64 v, int n) {
    for (int i = 0; i < n; i++) p[i] = v[i];
}
FC_INLINE ivec_f32 iselect_f32(ivec_f32 m, ivec_f32 a, ivec_f32 b) { return (m & a) | (~m & b); }
FC_INLINE ivec_f64 iselect_f64(ivec_f64 m, ivec_f64 a, ivec_f64 b) { return (m & a) | (~m & b); }
FC_INLINE vec_f32 select_f32(ivec_f32 m, vec_f32 a, vec_f32 b) { return (vec_f32)((m & (ivec_f32)a) | (~m & (ivec_f32)b)); }
FC_INLINE vec_f64 select_f64(ivec_f64 m, vec_f64 a, vec_f64 b) { return (vec_f64)((m & (ivec_f64)a) | (~m & (ivec_f64)b)); }

FC_INLINE float sum_f32(vec_f32 v) { return (v[0] + v[2]) + (v[1] + v[3]); }
FC_INLINE double sum_f64(vec_f64 v) { return v[0] + v[1]; }
