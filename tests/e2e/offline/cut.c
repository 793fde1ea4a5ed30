/* Loaded before libc's own functions (LD_PRELOAD): every attempt to look a name up or to reach an
   address that is not this machine's is refused and written to the file that OFFLINE_LOG names.
   Python's audit hooks see what Python does; this sees libraries of C and Rust, and processes that
   ignore PYTHONPATH. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void tell(const char *what, const char *where) {
    const char *log = getenv("OFFLINE_LOG");
    char line[512];
    int file = log ? open(log, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (file < 0) return;
    int size = snprintf(line, sizeof line, "libc %s %s (process %d)\n", what, where, getpid());
    if (write(file, line, size < (int)sizeof line ? size : (int)sizeof line) < 0) abort();
    close(file);
}

static int leaves(const char *what, const struct sockaddr *to) {
    char text[INET6_ADDRSTRLEN] = "?";
    if (!to) return 0;
    if (to->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)to;
        if (ntohl(in->sin_addr.s_addr) >> 24 == 127 || !in->sin_addr.s_addr) return 0;
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
    } else if (to->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)to;
        if (IN6_IS_ADDR_LOOPBACK(&in->sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&in->sin6_addr)) return 0;
        inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text);
    } else return 0;
    tell(what, text);
    errno = ENETUNREACH;
    return 1;
}

int connect(int s, const struct sockaddr *to, socklen_t size) {
    static int (*real)(int, const struct sockaddr *, socklen_t);
    if (!real) real = dlsym(RTLD_NEXT, "connect");
    return leaves("connect", to) ? -1 : real(s, to, size);
}

ssize_t sendto(int s, const void *b, size_t n, int f, const struct sockaddr *to, socklen_t size) {
    static ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    if (!real) real = dlsym(RTLD_NEXT, "sendto");
    return leaves("sendto", to) ? -1 : real(s, b, n, f, to, size);
}

ssize_t sendmsg(int s, const struct msghdr *message, int f) {
    static ssize_t (*real)(int, const struct msghdr *, int);
    if (!real) real = dlsym(RTLD_NEXT, "sendmsg");
    return message && leaves("sendmsg", message->msg_name) ? -1 : real(s, message, f);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    unsigned char address[16];
    char own[256] = "";
    if (!real) real = dlsym(RTLD_NEXT, "getaddrinfo");
    gethostname(own, sizeof own - 1);
    if (name && strcmp(name, "localhost") && strcmp(name, own) &&
        inet_pton(AF_INET, name, address) != 1 && inet_pton(AF_INET6, name, address) != 1) {
        tell("getaddrinfo", name);
        return EAI_NONAME;
    }
    return real(name, service, hints, found);
}
