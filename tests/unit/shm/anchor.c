/* Reads lines of numbers and gives them to the anchor of C:
     m T RESETS xyz(3) wxyz(4) covariance(36) local_from_head(12): prints whether it was believed
     a T local_from_head(12): prints map_from_local(12)
     l previous_from_new(12)
   A rigid motion is its rotation, row by row, and its position. */
#include <stdio.h>

#include "edge_reloc_anchor.h"

static void numbers(double *values, int count) {
    for (int i = 0; i < count; i++)
        if (scanf("%lf", values + i) != 1) values[i] = NAN;
}

int main(void) {
    struct edge_reloc_anchor anchor = edge_reloc_anchor_new();
    struct edge_reloc_rigid motion, map_from_local;
    char kind;
    long long t_ns;
    while (scanf(" %c", &kind) == 1) {
        if (kind == 'l') {
            numbers(&motion.rotation[0][0], 12);
            edge_reloc_anchor_move_local(&anchor, &motion);
            continue;
        }
        if (scanf("%lld", &t_ns) != 1) return 1;
        if (kind == 'm') {
            struct edge_reloc_pose pose = {.flags = EDGE_RELOC_HAS_POSE, .t_ns = t_ns};
            if (scanf("%u", &pose.reset_counter) != 1) return 1;
            numbers(pose.position, 3);
            numbers(pose.quat_wxyz, 4);
            numbers(pose.covariance, 36);
            numbers(&motion.rotation[0][0], 12);
            printf("%d\n", edge_reloc_anchor_measure(&anchor, &pose, &motion));
        } else {
            numbers(&motion.rotation[0][0], 12);
            if (!edge_reloc_anchor_at(&anchor, t_ns, &motion, &map_from_local)) return 1;
            for (int i = 0; i < 12; i++) printf("%.17g ", (&map_from_local.rotation[0][0])[i]);
            printf("\n");
        }
    }
    return 0;
}
