/* One source, two types.  A unit defines `real` (float or double) and FC_SUFFIX (f32 or f64), includes this header and
 * then the templates; FC(name) is the name of this type's instance, name_f32 or name_f64. */
#ifndef FC_REAL_H
#define FC_REAL_H

#include <stddef.h>
#include <stdint.h>

#define FC_PASTE_(a, b) a##_##b
#define FC_PASTE(a, b) FC_PASTE_(a, b)
#define FC(name) FC_PASTE(name, FC_SUFFIX)

/* The integer of a lane: FC(int). */
typedef int32_t int_f32;
typedef int64_t int_f64;

#endif
