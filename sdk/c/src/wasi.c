/* Parts of the C library reach for WASI: streams, the environment, exit. A plugin has no I/O of its own, and the host gives a component
 * nothing but its world's imports. These stand in for WASI's functions, so that a component imports none: each says that there is no
 * such function, and ends the call where it must not return. `printf` therefore prints nothing; use `pintle_log`. */
#include <stdint.h>

/* WASI's errno for a function that is not there. */
enum { NOSYS = 52 };

#define STUB(name, ...) \
    int32_t __imported_wasi_snapshot_preview1_##name(__VA_ARGS__); \
    int32_t __imported_wasi_snapshot_preview1_##name(__VA_ARGS__) { return NOSYS; }

typedef int32_t a;
typedef int64_t b;

STUB(args_get, a x, a y)
STUB(args_sizes_get, a x, a y)
STUB(environ_get, a x, a y)
STUB(environ_sizes_get, a x, a y)
STUB(clock_res_get, a x, a y)
STUB(clock_time_get, a x, b y, a z)
STUB(fd_close, a x)
STUB(fd_fdstat_get, a x, a y)
STUB(fd_fdstat_set_flags, a x, a y)
STUB(fd_filestat_get, a x, a y)
STUB(fd_prestat_get, a x, a y)
STUB(fd_prestat_dir_name, a x, a y, a z)
STUB(fd_read, a x, a y, a z, a w)
STUB(fd_seek, a x, b y, a z, a w)
STUB(fd_write, a x, a y, a z, a w)
STUB(path_open, a x, a y, a z, a w, a v, b u, b t, a s, a r)
STUB(poll_oneoff, a x, a y, a z, a w)
STUB(random_get, a x, a y)
STUB(sched_yield, void)

_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(a x);
_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(a x) {
    (void)x;
    __builtin_trap();
}
