/* The floor: COUNT times `sh -c 'echo hi'` with its output in a file of its own, AT_ONCE alive. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *const arguments[] = {"sh", "-c", "echo hi", NULL};
static char *const environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};

static void start(const char *directory, long number) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%ld", directory, number);
    int output = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (output < 0) {
        perror(path);
        exit(1);
    }
    pid_t child = vfork();
    if (child == 0) {
        if (dup2(output, 1) == 1) {
            execve("/bin/sh", arguments, environment);
        }
        _exit(127);
    }
    if (child < 0) {
        perror("vfork");
        exit(1);
    }
    close(output);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        return 2;
    }
    long count = atol(argv[1]), at_once = atol(argv[2]), started = 0;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (long ended = 0; ended < count; ended++) {
        while (started < count && started - ended < at_once) {
            start(argv[3], started++);
        }
        int status;
        if (wait(&status) < 0 || status != 0) {
            return 1;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.6f\n", (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    return 0;
}
