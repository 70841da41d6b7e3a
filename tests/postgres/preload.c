/* What is preloaded into a program whose disk is to be full or whose clock is to be wrong, while a link says so:
 *
 *   TEST_FULL_DISK    names a link. While it is there, no file below where it points to grows.
 *   TEST_WRONG_CLOCK  names a link. While it is there, the time of day is ahead by the seconds that it says.
 *
 * A link is read and replaced in one piece, and nobody need open it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PATH 4096
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* What the link says that a variable names; its length, or nothing. */
static ssize_t says(const char *variable, char *text) {
    const char *link = getenv(variable);
    int before = errno;
    ssize_t length = link == NULL ? -1 : readlink(link, text, PATH - 1);
    errno = before;
    if (length < 0)
        return 0;
    text[length] = '\0';
    return length;
}

/* ---- a full disk: what is there may be written over */

static int is_full(int file, off_t end) {
    char below[PATH], name[64], path[PATH];
    struct stat about;
    ssize_t length = says("TEST_FULL_DISK", below);
    if (length == 0 || fstat(file, &about) != 0 || !S_ISREG(about.st_mode) || end <= about.st_size)
        return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t found = readlink(name, path, PATH - 1);
    return found > length && strncmp(path, below, length) == 0 && path[length] == '/';
}

static off_t position(int file) {
    return lseek(file, 0, (fcntl(file, F_GETFL) & O_APPEND) != 0 ? SEEK_END : SEEK_CUR);
}

static off_t length_of(const struct iovec *pieces, int count) {
    off_t length = 0;
    for (int at = 0; at < count; at++)
        length += pieces[at].iov_len;
    return length;
}

static int no_space(void) {
    errno = ENOSPC;
    return -1;
}

ssize_t write(int file, const void *bytes, size_t count) {
    return is_full(file, position(file) + count) ? no_space() : REAL(write)(file, bytes, count);
}

ssize_t writev(int file, const struct iovec *pieces, int count) {
    off_t end = position(file) + length_of(pieces, count);
    return is_full(file, end) ? no_space() : REAL(writev)(file, pieces, count);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    return is_full(file, at + count) ? no_space() : REAL(pwrite)(file, bytes, count, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    return is_full(file, at + count) ? no_space() : REAL(pwrite64)(file, bytes, count, at);
}

ssize_t pwritev(int file, const struct iovec *pieces, int count, off_t at) {
    return is_full(file, at + length_of(pieces, count)) ? no_space() : REAL(pwritev)(file, pieces, count, at);
}

ssize_t pwritev64(int file, const struct iovec *pieces, int count, off64_t at) {
    return is_full(file, at + length_of(pieces, count)) ? no_space() : REAL(pwritev64)(file, pieces, count, at);
}

int fallocate(int file, int mode, off_t at, off_t count) {
    return is_full(file, at + count) ? no_space() : REAL(fallocate)(file, mode, at, count);
}

int fallocate64(int file, int mode, off64_t at, off64_t count) {
    return is_full(file, at + count) ? no_space() : REAL(fallocate64)(file, mode, at, count);
}

int posix_fallocate(int file, off_t at, off_t count) {
    return is_full(file, at + count) ? ENOSPC : REAL(posix_fallocate)(file, at, count);
}

int posix_fallocate64(int file, off64_t at, off64_t count) {
    return is_full(file, at + count) ? ENOSPC : REAL(posix_fallocate64)(file, at, count);
}

/* ---- a wrong clock: the time of day alone, not how time goes by */

static long ahead(void) {
    char seconds[PATH];
    return says("TEST_WRONG_CLOCK", seconds) == 0 ? 0 : atol(seconds);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int outcome = REAL(clock_gettime)(clock, time);
    if (outcome == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += ahead();
    return outcome;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int outcome = REAL(gettimeofday)(now, zone);
    if (outcome == 0)
        now->tv_sec += ahead();
    return outcome;
}

time_t time(time_t *into) {
    time_t now = REAL(time)(NULL) + ahead();
    if (into != NULL)
        *into = now;
    return now;
}
