/* A payload that does as it is told, for the tests of units.
 *
 *   payload [WORD…]     each word is done in turn; then it waits for a signal
 *     exit=N            exit with N at once
 *     on:SIGNAL=N       exit with N when SIGNAL (TERM, INT, QUIT, USR1, HUP, or a number) comes; default TERM=0
 *     ignore:SIGNAL     ignore it
 *     ready             READY=1 to $NOTIFY_SOCKET
 *     status=TEXT       STATUS=TEXT
 *     watchdog          WATCHDOG=1 every half $WATCHDOG_USEC, until SIGUSR2 comes; then never again
 *     sleep=MS          wait
 *     serve=PORT        answer each connection to 127.0.0.1:PORT with one line
 *     open=PATH         say whether PATH opens for reading
 *     mknod=TYPE:MAJOR:MINOR:PATH   make a device node (TYPE b or c), say whether that works
 *     write=PATH        say whether PATH can be made and written
 *     show              say pid, ids, cgroup, capabilities, no_new_privs, host name
 *
 * What it says goes to standard output, one line each: "WORD: ok" or "WORD: strerror". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t exit_code[NSIG];
static volatile sig_atomic_t fed = 1;

static void leave(int number) { _exit(exit_code[number]); }
static void starve(int number) { (void)number; fed = 0; }

static int signal_number(const char *name) {
    static const struct { const char *name; int number; } known[] = {
        {"TERM", SIGTERM}, {"INT", SIGINT}, {"QUIT", SIGQUIT}, {"USR1", SIGUSR1}, {"HUP", SIGHUP}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name)) return known[i].number;
    int number = atoi(name);
    if (number < 1 || number >= NSIG) { fprintf(stderr, "payload: no signal %s\n", name); exit(64); }
    return number;
}

static void on_signal(int number, int code) {
    exit_code[number] = code;
    signal(number, leave);
}

static void said(const char *word, int result) {
    printf("%s: %s\n", word, result < 0 ? strerror(errno) : "ok");
}

static int notify(const char *message) {
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path) { errno = ENOENT; return -1; }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length >= sizeof address.sun_path) { errno = ENAMETOOLONG; return -1; }
    memcpy(address.sun_path, path, length);
    if (*path == '@') *address.sun_path = 0;
    int end = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (end < 0) return -1;
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + length + (*path == '@' ? 0 : 1);
    int result = sendto(end, message, strlen(message), 0, (struct sockaddr *)&address, size) < 0 ? -1 : 0;
    int why = errno;
    close(end);
    errno = why;
    return result;
}

static void pause_ms(long milliseconds) {
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {}
}

static void serve(int port) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 16) < 0) {
        perror("payload: serve");
        exit(1);
    }
    for (;;) {
        int client = accept(listener, 0, 0);
        if (client < 0) continue;
        dprintf(client, "payload %d answers\n", getpid());
        /* What the client sent is read first: closing over unread bytes would reset the connection. */
        struct timeval limit = {1, 0};
        char sent[512];
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        shutdown(client, SHUT_WR);
        while (read(client, sent, sizeof sent) > 0) {}
        close(client);
    }
}

static void show_file(const char *path, const char *prefix) {
    FILE *file = fopen(path, "re");
    char line[512];
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, prefix, strlen(prefix))) printf("%s %s", path, line);
    if (file) fclose(file);
}

static void show(void) {
    char host[65] = "";
    gethostname(host, sizeof host);
    printf("pid %d uid %d gid %d host %s\n", getpid(), getuid(), getgid(), host);
    show_file("/proc/self/cgroup", "0::");
    show_file("/proc/self/status", "Cap");
    show_file("/proc/self/status", "NoNewPrivs");
    show_file("/proc/self/status", "Seccomp");
}

static int make_node(const char *text) {
    char type;
    unsigned major_number, minor_number;
    int at = 0;
    if (sscanf(text, "%c:%u:%u:%n", &type, &major_number, &minor_number, &at) < 3 || !at) { errno = EINVAL; return -1; }
    return mknod(text + at, 0600 | (type == 'b' ? S_IFBLK : S_IFCHR), makedev(major_number, minor_number));
}

static int can_write(const char *path) {
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) return -1;
    int result = write(file, "x", 1) == 1 ? 0 : -1;
    close(file);
    return result;
}

int main(int count, char **words) {
    int watchdog = 0;
    setvbuf(stdout, 0, _IOLBF, 0);
    on_signal(SIGTERM, 0);
    signal(SIGUSR2, starve);
    for (int i = 1; i < count; i++) {
        char *word = words[i], message[256];
        if (!strncmp(word, "exit=", 5)) return atoi(word + 5);
        else if (!strncmp(word, "on:", 3) && strchr(word, '=')) {
            char *value = strchr(word, '=');
            *value = 0;
            on_signal(signal_number(word + 3), atoi(value + 1));
        }
        else if (!strncmp(word, "ignore:", 7)) signal(signal_number(word + 7), SIG_IGN);
        else if (!strcmp(word, "ready")) said(word, notify("READY=1"));
        else if (!strncmp(word, "status=", 7)) {
            snprintf(message, sizeof message, "STATUS=%s", word + 7);
            said(word, notify(message));
        }
        else if (!strcmp(word, "watchdog")) watchdog = 1;
        else if (!strncmp(word, "sleep=", 6)) pause_ms(atol(word + 6));
        else if (!strncmp(word, "serve=", 6)) serve(atoi(word + 6));
        else if (!strncmp(word, "open=", 5)) {
            int file = open(word + 5, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
            said(word, file);
            if (file >= 0) close(file);
        }
        else if (!strncmp(word, "mknod=", 6)) said(word, make_node(word + 6));
        else if (!strncmp(word, "write=", 6)) said(word, can_write(word + 6));
        else if (!strcmp(word, "show")) show();
        else { fprintf(stderr, "payload: what is %s?\n", word); return 64; }
    }
    const char *usec = getenv("WATCHDOG_USEC");
    long every = usec && atol(usec) > 0 ? atol(usec) / 2000 : 500;
    if (every > 200) every = 200;
    for (;;) {
        if (watchdog && fed) notify("WATCHDOG=1");
        poll(0, 0, watchdog ? every : -1);
    }
}
