/* Loaded before the C library (LD_PRELOAD): one call that writes below some folders fails, or all from one on.

   Calls are numbered from 1, over all processes that share the counter. The environment says what happens:

     FAIL_BELOW    folders, absolute, with a colon between each two
     FAIL_COUNTER  a file of 8 bytes that holds the number of calls so far
     FAIL_AT       the call that fails; 0 for none
     FAIL_WITH     the error number
     FAIL_HOW      "once"; "onwards": all later ones fail too; "half": the same, and the first one writes half of its bytes
     FAIL_LOG      a file that gets a line for each call: its number, its name, its path

   What stdio writes by itself does not come along here (fflush, fclose): calls from outside of the C library do. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define PATH_BYTES 4096

enum verdict { PASSES, FAILS, HALF };

static int is_below(const char *path) {
    const char *folders = getenv("FAIL_BELOW");
    while (folders && *folders) {
        const char *end = strchrnul(folders, ':');
        size_t length = (size_t)(end - folders);
        if (length && !strncmp(path, folders, length) && (path[length] == '/' || !path[length])) return 1;
        folders = *end ? end + 1 : end;
    }
    return 0;
}

static long next_number(void) {
    static long *counter;
    if (!counter) {
        const char *path = getenv("FAIL_COUNTER");
        int opened = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
        if (opened < 0) return 0;
        void *mapped = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, opened, 0);
        syscall(SYS_close, opened);
        if (mapped == MAP_FAILED) return 0;
        counter = mapped;
    }
    return __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static void note(long number, const char *name, const char *path) {
    const char *log = getenv("FAIL_LOG");
    int opened = log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (opened < 0) return;
    char line[PATH_BYTES + 100];
    int length = snprintf(line, sizeof line, "%ld %s %s\n", number, name, path);
    if (length > 0) syscall(SYS_write, opened, line, (size_t)length);
    syscall(SYS_close, opened);
}

static enum verdict of_path(const char *name, const char *path) {
    if (!path || !is_below(path)) return PASSES;
    int before = errno;
    long number = next_number();
    const char *at_text = getenv("FAIL_AT"), *with = getenv("FAIL_WITH"), *how = getenv("FAIL_HOW");
    long at = at_text ? atol(at_text) : 0;
    note(number, name, path);
    errno = before;
    if (!at || number < at || (number > at && how && !strcmp(how, "once"))) return PASSES;
    errno = with ? atoi(with) : ENOSPC;
    return number == at && how && !strcmp(how, "half") ? HALF : FAILS;
}

static enum verdict of_file(const char *name, int opened) {
    char link[64], path[PATH_BYTES];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", opened);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return PASSES;
    path[length] = '\0';
    return of_path(name, path);
}

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT; }

#define OPEN(name, given, passed)                                                                                         \
    int name(given, int flags, ...) {                                                                                             \
        mode_t mode = 0;                                                                                                          \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                                                    \
            va_list rest;                                                                                                         \
            va_start(rest, flags);                                                                                                \
            mode = va_arg(rest, mode_t);                                                                                          \
            va_end(rest);                                                                                                         \
        }                                                                                                                         \
        if (writes(flags) && of_path("open", path) != PASSES) return -1;                                                          \
        return REAL(name)(passed, flags, mode);                                                                            \
    }
#define COMMA ,
OPEN(open, const char *path, path)
OPEN(open64, const char *path, path)
OPEN(openat, int folder COMMA const char *path, folder COMMA path)
OPEN(openat64, int folder COMMA const char *path, folder COMMA path)

FILE *fopen(const char *path, const char *mode) {
    return *mode != 'r' && of_path("open", path) != PASSES ? NULL : REAL(fopen)(path, mode);
}
FILE *fopen64(const char *path, const char *mode) {
    return *mode != 'r' && of_path("open", path) != PASSES ? NULL : REAL(fopen64)(path, mode);
}

#define WRITE(name, parameters, arguments, half)                                                                                  \
    ssize_t name parameters {                                                                                                     \
        enum verdict found = of_file("write", file);                                                                              \
        if (found == HALF && n > 1) return REAL(name) half;                                                                       \
        return found != PASSES ? -1 : REAL(name) arguments;                                                                       \
    }
WRITE(write, (int file, const void *data, size_t n), (file, data, n), (file, data, n / 2))
WRITE(pwrite, (int file, const void *data, size_t n, off_t at), (file, data, n, at), (file, data, n / 2, at))
WRITE(pwrite64, (int file, const void *data, size_t n, off64_t at), (file, data, n, at), (file, data, n / 2, at))
WRITE(writev, (int file, const struct iovec *data, int n), (file, data, n), (file, data, n / 2))

size_t fwrite(const void *data, size_t size, size_t n, FILE *file) {
    enum verdict found = of_file("write", fileno(file));
    if (found == HALF && n > 1) return REAL(fwrite)(data, size, n / 2, file);
    return found != PASSES ? 0 : REAL(fwrite)(data, size, n, file);
}

#define OF_FILE(name, parameters, arguments)                                                                                      \
    int name parameters { return of_file(#name, file) != PASSES ? -1 : REAL(name) arguments; }
OF_FILE(fsync, (int file), (file))
OF_FILE(fdatasync, (int file), (file))
OF_FILE(ftruncate, (int file, off_t n), (file, n))
OF_FILE(ftruncate64, (int file, off64_t n), (file, n))

#define FALLOCATE(name, type)                                                                                                     \
    int name(int file, type at, type n) {                                                                                         \
        int before = errno;                                                                                                       \
        if (of_file("posix_fallocate", file) != PASSES) {                                                                         \
            int error = errno;                                                                                                    \
            errno = before;                                                                                                       \
            return error;                                                                                                         \
        }                                                                                                                         \
        return REAL(name)(file, at, n);                                                                                           \
    }
FALLOCATE(posix_fallocate, off_t)
FALLOCATE(posix_fallocate64, off64_t)

#define OF_PATH(name, parameters, arguments)                                                                                      \
    int name parameters { return of_path(#name, path) != PASSES ? -1 : REAL(name) arguments; }
OF_PATH(truncate, (const char *path, off_t n), (path, n))
OF_PATH(truncate64, (const char *path, off64_t n), (path, n))
OF_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
OF_PATH(mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode))
OF_PATH(rename, (const char *from, const char *path), (from, path))
OF_PATH(renameat, (int a, const char *from, int b, const char *path), (a, from, b, path))
OF_PATH(link, (const char *from, const char *path), (from, path))
OF_PATH(linkat, (int a, const char *from, int b, const char *path, int flags), (a, from, b, path, flags))
OF_PATH(symlink, (const char *from, const char *path), (from, path))
OF_PATH(symlinkat, (const char *from, int folder, const char *path), (from, folder, path))
