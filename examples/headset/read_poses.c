/* Prints the newest pose of `edge-reloc run --output 'shm:head?axes=openxr'` as it comes:
     gcc -O2 -I edge_reloc/sinks -o read_poses examples/headset/read_poses.c
     ./read_poses head 10      (seconds; without: for ever) */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "edge_reloc_poses.h"

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static const struct edge_reloc_poses *attach(const char *name) {
    char path[256];
    struct stat about;
    snprintf(path, sizeof path, "/dev/shm/%s", name);
    const int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &about)) return NULL;
    void *memory = mmap(NULL, about.st_size, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) return NULL;
    if (edge_reloc_fits(memory, about.st_size)) return memory;
    munmap(memory, about.st_size);
    return NULL;
}

int main(int argc, char **argv) {
    static const char *const states[] = {"-", "SEARCHING", "TRACKING", "DEGRADED", "LOST"};
    const struct edge_reloc_poses *poses = argc > 1 ? attach(argv[1]) : NULL;
    if (!poses) {
        fprintf(stderr, "%s: no poses in /dev/shm by that name\n", argc > 1 ? argv[1] : "NAME");
        return 1;
    }
    const int64_t until_ns = argc > 2 ? now_ns() + (int64_t)(atof(argv[2]) * 1e9) : INT64_MAX;
    printf("map %s, %s, axes %s\n", poses->map_name, poses->metric ? "metres" : "map units",
           poses->axes == EDGE_RELOC_AXES_OPENXR ? "OpenXR" : "of the map");
    uint64_t last = 0, session = poses->session;
    while (now_ns() < until_ns) {
        struct edge_reloc_pose pose;
        const uint64_t number = edge_reloc_newest(poses, &pose);
        if (!number || (number == last && poses->session == session)) {
            if (!poses->writing && last && number == last) break; /* the run has ended */
            usleep(1000);
            continue;
        }
        last = number, session = poses->session;
        printf("%llu t %lld state %s resets %u", (unsigned long long)number, (long long)pose.t_ns,
               pose.state < 5 ? states[pose.state] : "?", pose.reset_counter);
        if (pose.flags & EDGE_RELOC_HAS_POSE)
            printf(" xyz %.4f %.4f %.4f wxyz %.5f %.5f %.5f %.5f", pose.position[0],
                   pose.position[1], pose.position[2], pose.quat_wxyz[0], pose.quat_wxyz[1],
                   pose.quat_wxyz[2], pose.quat_wxyz[3]);
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
