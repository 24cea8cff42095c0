/* Sleep so many milliseconds, store CLOCK_MONOTONIC in a file as the last act, and exit. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 3) {
        return 2;
    }
    int file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0) {
        return 1;
    }
    usleep((useconds_t)(atol(argv[2]) * 1000));
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t said = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    if (write(file, &said, sizeof said) != sizeof said) {
        return 1;
    }
    _exit(0);
}
