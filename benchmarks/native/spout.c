/* Write so many bytes of a known pattern as fast as they are taken. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A prime: no reader's buffer falls into step with it. Python's side repeats the same bytes. */
#define PATTERN 65521
#define PIECE (128 * 1024)

int main(int argc, char **argv) {
    static unsigned char bytes[PATTERN + PIECE];
    if (argc != 2) {
        return 2;
    }
    for (long i = 0; i < (long)sizeof bytes; i++) {
        long place = i % PATTERN;
        bytes[i] = (unsigned char)((place * 31 + place / 251) & 0xff);
    }
    long long left = atoll(argv[1]), done = 0;
    while (left > 0) {
        size_t size = left < PIECE ? (size_t)left : PIECE;
        ssize_t wrote = write(1, bytes + done % PATTERN, size);
        if (wrote <= 0) {
            return 1;
        }
        done += wrote;
        left -= wrote;
    }
    return 0;
}
