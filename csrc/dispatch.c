/* CPU features by cpuid and XGETBV, cache sizes, and the choice of the kernel table.  The choice is made once, at
 * import, before any kernel runs; tests change it between calls, never during one. */
#include "dispatch.h"

#include <string.h>
#include <unistd.h>

extern const fc_kernel_table fc_table_baseline;
#if defined(__x86_64__) || defined(__i386__)
#define FC_X86 1
#include <cpuid.h>
extern const fc_kernel_table fc_table_avx2, fc_table_avx512;
/* FC_WITHOUT_*: a build that leaves an instruction set out, for a checker's sake. */
static const fc_kernel_table *const tables[] = {
    &fc_table_baseline,
#ifndef FC_WITHOUT_AVX2
    &fc_table_avx2,
#endif
#ifndef FC_WITHOUT_AVX512
    &fc_table_avx512,
#endif
};
#else
static const fc_kernel_table *const tables[] = {&fc_table_baseline};
#endif
enum { TABLES = sizeof tables / sizeof tables[0] };

const fc_kernel_table *fc_active = &fc_table_baseline;

#ifdef FC_X86
static uint64_t xgetbv0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}

static void detect_x86(fc_cpu *cpu) {
    unsigned a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d)) return;
    memcpy(cpu->vendor, &b, 4);
    memcpy(cpu->vendor + 4, &d, 4);
    memcpy(cpu->vendor + 8, &c, 4);
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        cpu->sse2 = (d >> 26) & 1;
        cpu->fma = (c >> 12) & 1;
        if ((c >> 27) & 1) { /* OSXSAVE: xgetbv may be used */
            uint64_t state = xgetbv0();
            cpu->os_ymm = (state & 0x06) == 0x06;
            cpu->os_zmm = (state & 0xe6) == 0xe6;
        }
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        cpu->avx2 = (b >> 5) & 1;
        cpu->avx512f = (b >> 16) & 1;
        cpu->avx512dq = (b >> 17) & 1;
        cpu->avx512bw = (b >> 30) & 1;
        cpu->avx512vl = (b >> 31) & 1;
    }
    for (unsigned i = 0; i < 3; i++) {
        if (!__get_cpuid(0x80000002u + i, &a, &b, &c, &d)) break;
        memcpy(cpu->brand + 16 * i, &a, 4);
        memcpy(cpu->brand + 16 * i + 4, &b, 4);
        memcpy(cpu->brand + 16 * i + 8, &c, 4);
        memcpy(cpu->brand + 16 * i + 12, &d, 4);
    }
}
#endif

static long cache_bytes(int name) {
    long bytes = sysconf(name);
    return bytes > 0 ? bytes : 0;
}

const fc_cpu *fc_cpu_info(void) {
    static fc_cpu cpu;
    static int known;
    if (known) return &cpu;
#ifdef FC_X86
    detect_x86(&cpu);
#elif defined(__aarch64__)
    cpu.neon = 1;
#endif
#ifdef _SC_LEVEL1_DCACHE_SIZE
    cpu.l1d = cache_bytes(_SC_LEVEL1_DCACHE_SIZE);
    cpu.l2 = cache_bytes(_SC_LEVEL2_CACHE_SIZE);
    cpu.l3 = cache_bytes(_SC_LEVEL3_CACHE_SIZE);
#endif
    known = 1;
    return &cpu;
}

const fc_kernel_table *fc_table(int i) { return i >= 0 && i < TABLES ? tables[i] : NULL; }

int fc_table_supported(const fc_kernel_table *table) {
#ifdef FC_X86
    const fc_cpu *cpu = fc_cpu_info();
    if (strcmp(table->isa, "avx2") == 0) return cpu->avx2 && cpu->fma && cpu->os_ymm;
    if (strcmp(table->isa, "avx512") == 0)
        return cpu->avx512f && cpu->avx512dq && cpu->avx512bw && cpu->avx512vl && cpu->fma && cpu->os_zmm;
#endif
    (void)table;
    return 1;
}

int fc_select(const char *isa) {
    for (int i = 0; i < TABLES; i++) {
        if (strcmp(tables[i]->isa, isa) != 0) continue;
        if (!fc_table_supported(tables[i])) return -2;
        fc_active = tables[i];
        return 0;
    }
    return -1;
}

void fc_select_best(void) {
    for (int i = 0; i < TABLES; i++)
        if (fc_table_supported(tables[i])) fc_active = tables[i];
}
