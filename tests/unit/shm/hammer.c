/* Reads the newest pose again and again while a writer writes; every field of a pose follows from
   its number, so that one that is torn is seen. Prints READS WHOLE TORN NUMBERS and offsets. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "edge_reloc_poses.h"

static int whole(const struct edge_reloc_pose *pose) {
    const double n = (double)pose->frame;
    int good = pose->t_ns == (int64_t)pose->frame * 1000 && pose->inliers == pose->frame % 1000;
    for (int i = 0; i < 3; i++) good &= pose->position[i] == -n;
    for (int i = 0; i < 36; i++) good &= pose->covariance[i] == (i % 7 == 0 ? n : 0.0);
    return good;
}

int main(int argc, char **argv) {
    struct stat about;
    const int file = open(argv[1], O_RDONLY);
    if (argc < 3 || file < 0 || fstat(file, &about)) return 1;
    const struct edge_reloc_poses *poses =
        mmap(NULL, about.st_size, PROT_READ, MAP_SHARED, file, 0);
    if (!edge_reloc_fits(poses, about.st_size)) return 2;
    const long reads = atol(argv[2]);
    long good = 0, torn = 0, numbers = 0;
    uint64_t last = 0;
    for (long i = 0; i < reads; i++) {
        struct edge_reloc_pose pose;
        const uint64_t number = edge_reloc_newest(poses, &pose);
        if (!number) continue;
        good += 1;
        torn += !whole(&pose);
        numbers += number != last;
        last = number;
    }
    printf("%ld %ld %ld %ld\n", reads, good, torn, numbers);
    printf("%zu %zu %zu %zu %zu\n", sizeof *poses, sizeof(struct edge_reloc_pose),
           offsetof(struct edge_reloc_poses, map_name), offsetof(struct edge_reloc_pose, position),
           offsetof(struct edge_reloc_pose, reserved));
    return 0;
}
