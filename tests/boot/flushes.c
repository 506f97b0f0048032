/* Flushes for user-mode Linux (LD_PRELOAD). Its disk driver (7.2) hands a flush of the guest to the thread that reads and writes, which
 * does nothing for it: what the guest takes for flushed is lost with the host's cache.
 *
 * That thread reads a batch of requests (pointers, at most 64 of them) from a pipe, reads and writes the disk for each, and writes the same
 * pointers back. A request for which it did neither is a flush. Where a batch has several, one may be, and is answered by a flush, too: rather
 * a flush too many than one too few, which would be taken for a loss. */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static __thread size_t batch, transfers;
static int disk = -1;

ssize_t pread64(int file, void *bytes, size_t size, off64_t at) {
    transfers++;
    return syscall(SYS_pread64, file, bytes, size, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
    transfers++;
    disk = file;
    return syscall(SYS_pwrite64, file, bytes, size, at);
}

ssize_t read(int file, void *bytes, size_t size) {
    ssize_t got = syscall(SYS_read, file, bytes, size);
    if (size == 64 * sizeof(void *) && got > 0 && got % sizeof(void *) == 0) {
        batch = got;
        transfers = 0;
    }
    return got;
}

ssize_t write(int file, const void *bytes, size_t size) {
    if (batch && size == batch) {
        if (disk >= 0 && (transfers == 0 || batch > sizeof(void *))) syscall(SYS_fsync, disk);
        batch = 0;
    }
    return syscall(SYS_write, file, bytes, size);
}
