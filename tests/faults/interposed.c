/* Stands before the C library, counts what a process changes below a directory, and at one of
 * these changes kills it, lets the change fail, or moves the clock.
 *
 * Python, Rust and HDF5 all change files through the C library, so that this sees what Lance
 * does too. It is loaded by LD_PRELOAD, and does nothing until it is armed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum action { COUNT, SIGNAL, TEAR, FAIL, FAIL_ON, CLOCK };
enum kind { TAKES, FREES, SYNCS };

static char below[PATH_MAX];
static long at = -1;
static long seen;
static long met;
static int action;
static long value;

/* The change, from 0, at which it happens; `argument` is a signal, an errno, or seconds. */
void fault_arm(const char *directory, int what, long position, long argument) {
    strncpy(below, directory, sizeof below - 1);
    action = what;
    value = argument;
    seen = 0;
    /* A clock that is off before anything changes. */
    met = what == CLOCK && position == 0;
    at = position;
}

void fault_disarm(void) { below[0] = 0; }

/* How many changes there were since it was armed. */
long fault_seen(void) { return seen; }

/* How often it did what it was armed for. */
long fault_met(void) { return met; }

static int is_below(const char *path) {
    return strncmp(path, below, strlen(below)) == 0;
}

static int is_open_below(int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

static int concerns(int directory, const char *path) {
    if (!below[0] || !path) return 0;
    if (path[0] == '/') return is_below(path);
    if (directory != AT_FDCWD) return is_open_below(directory);
    char here[PATH_MAX];
    return getcwd(here, sizeof here) && is_below(here);
}

/* Whether this change has to fail; the process may not come back from it. 2: tear it. */
static int strikes(int mine, enum kind kind) {
    if (!mine) return 0;
    long number = __atomic_fetch_add(&seen, 1, __ATOMIC_SEQ_CST);
    if (at < 0 || number < at) return 0;
    switch (action) {
    case SIGNAL:
        if (number > at) return 0;
        met = 1;
        kill(getpid(), (int)value);
        return 0;
    case TEAR:
        return 2;
    case FAIL:
        if (number > at) return 0;
        break;
    case FAIL_ON:
        /* A disk that is full still frees, and one that cannot be written does nothing. */
        if (kind != TAKES && value != EROFS) return 0;
        break;
    case CLOCK:
        met = 1;
        return 0;
    default:
        return 0;
    }
    __atomic_fetch_add(&met, 1, __ATOMIC_SEQ_CST);
    errno = (int)value;
    return 1;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    pause();
}

#define NEXT(name) __typeof__(name) *next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
/* What cannot be torn is done, and then the process dies. */
#define STRUCK(mine, kind, call)            \
    do {                                    \
        int how = strikes(mine, kind);      \
        if (how == 1) return -1;            \
        if (how == 2) {                     \
            (void)!(call);                  \
            die();                          \
        }                                   \
        return (call);                      \
    } while (0)

static int writes(int flags) { return (flags & (O_CREAT | O_TRUNC)) != 0; }

#define OPEN(name)                                                      \
    int name(const char *path, int flags, ...) {                        \
        NEXT(name);                                                     \
        va_list rest;                                                   \
        va_start(rest, flags);                                          \
        mode_t mode = writes(flags) ? va_arg(rest, mode_t) : 0;         \
        va_end(rest);                                                   \
        STRUCK(writes(flags) && concerns(AT_FDCWD, path), TAKES,        \
               next(path, flags, mode));                                \
    }
#define OPENAT(name)                                                    \
    int name(int directory, const char *path, int flags, ...) {         \
        NEXT(name);                                                     \
        va_list rest;                                                   \
        va_start(rest, flags);                                          \
        mode_t mode = writes(flags) ? va_arg(rest, mode_t) : 0;         \
        va_end(rest);                                                   \
        STRUCK(writes(flags) && concerns(directory, path), TAKES,       \
               next(directory, path, flags, mode));                     \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

static int mine_open(int descriptor) { return below[0] && is_open_below(descriptor); }

ssize_t write(int descriptor, const void *data, size_t size) {
    NEXT(write);
    int how = strikes(mine_open(descriptor), TAKES);
    if (how == 1) return -1;
    if (how == 2) {
        (void)!next(descriptor, data, size / 2);
        die();
    }
    return next(descriptor, data, size);
}

#define PWRITE(name, offset_t)                                                      \
    ssize_t name(int descriptor, const void *data, size_t size, offset_t offset) {  \
        NEXT(name);                                                                 \
        int how = strikes(mine_open(descriptor), TAKES);                            \
        if (how == 1) return -1;                                                    \
        if (how == 2) {                                                             \
            (void)!next(descriptor, data, size / 2, offset);                        \
            die();                                                                  \
        }                                                                           \
        return next(descriptor, data, size, offset);                                \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    NEXT(writev);
    int how = strikes(mine_open(descriptor), TAKES);
    if (how == 1) return -1;
    if (how == 2) {
        (void)!next(descriptor, parts, count / 2);
        die();
    }
    return next(descriptor, parts, count);
}

#define ON_OPEN(name, parameters, arguments, kind)                                  \
    int name parameters {                                                           \
        NEXT(name);                                                                 \
        STRUCK(mine_open(descriptor), kind, next arguments);                        \
    }
ON_OPEN(fsync, (int descriptor), (descriptor), SYNCS)
ON_OPEN(fdatasync, (int descriptor), (descriptor), SYNCS)
ON_OPEN(ftruncate, (int descriptor, off_t size), (descriptor, size), TAKES)
ON_OPEN(ftruncate64, (int descriptor, off64_t size), (descriptor, size), TAKES)

#define ON_PATH(name, parameters, arguments, directory, kind)                       \
    int name parameters {                                                           \
        NEXT(name);                                                                 \
        STRUCK(concerns(directory, path), kind, next arguments);                    \
    }
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, TAKES)
ON_PATH(mkdirat, (int at_, const char *path, mode_t mode), (at_, path, mode), at_, TAKES)
ON_PATH(unlink, (const char *path), (path), AT_FDCWD, FREES)
ON_PATH(unlinkat, (int at_, const char *path, int flags), (at_, path, flags), at_, FREES)
ON_PATH(rmdir, (const char *path), (path), AT_FDCWD, FREES)
ON_PATH(rename, (const char *from, const char *path), (from, path), AT_FDCWD, TAKES)
ON_PATH(renameat, (int f_, const char *from, int at_, const char *path),
        (f_, from, at_, path), at_, TAKES)
ON_PATH(link, (const char *from, const char *path), (from, path), AT_FDCWD, TAKES)
ON_PATH(linkat, (int f_, const char *from, int at_, const char *path, int flags),
        (f_, from, at_, path, flags), at_, TAKES)

int clock_gettime(clockid_t clock, struct timespec *now) {
    NEXT(clock_gettime);
    int result = next(clock, now);
    if (met && action == CLOCK && clock == CLOCK_REALTIME) now->tv_sec += value;
    return result;
}
