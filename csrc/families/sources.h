/* The sources of a family for one element type; see each_type.h. */
#include "../simd/lanes.h"

#include FC_SOURCE_1
#ifdef FC_SOURCE_2
#include FC_SOURCE_2
#endif
#ifdef FC_SOURCE_3
#include FC_SOURCE_3
#endif
#ifdef FC_SOURCE_4
#include FC_SOURCE_4
#endif
#ifdef FC_SOURCE_5
#include FC_SOURCE_5
#endif
#ifdef FC_SOURCE_6
#include FC_SOURCE_6
#endif
#ifdef FC_SOURCE_7
#include FC_SOURCE_7
#endif
#ifdef FC_SOURCE_8
#include FC_SOURCE_8
#endif
#ifdef FC_SOURCE_9
#include FC_SOURCE_9
#endif
