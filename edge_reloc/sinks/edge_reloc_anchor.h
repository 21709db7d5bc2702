/* edge_reloc.running.anchor.Anchor for C: a headset's own tracking space in the map, drift
   removed, without visible jumps. docs/headsets.md. One thread at a time; link with -lm.

     struct edge_reloc_anchor anchor = edge_reloc_anchor_new();
     when edge_reloc_newest() gave a pose:  edge_reloc_anchor_measure(&anchor, &pose, &then);
     for each frame that is drawn:          edge_reloc_anchor_at(&anchor, display_ns, &predicted,
                                                                 &map_from_local);
   `then` and `predicted` are local_from_head of pose.t_ns and of display_ns. Poses of the ring
   with `?axes=openxr` go with OpenXR's spaces as they are. */
#ifndef EDGE_RELOC_ANCHOR_H
#define EDGE_RELOC_ANCHOR_H

#include <math.h>

#include "edge_reloc_poses.h"

struct edge_reloc_rigid { /* a_from_b: a = rotation b + position; rows */
    double rotation[3][3], position[3];
};

struct edge_reloc_anchor {
    /* how local tracking drifts, metres and radians per root of a second */
    double drift_m, drift_rad;
    /* share of a pose's variance that the next one has, too, and for how long */
    double shared, shared_s;
    double gate;      /* squared error, in units of its covariance, of a pose that is refused */
    double restart_s; /* of refused poses without a break: local tracking jumped */
    double settle_s, most_m_s, most_rad_s; /* how fast what is shown follows */
    /* from here on its own */
    int begun, refusing;
    uint32_t resets;
    int64_t t_ns, shown_ns, refused_ns;
    uint64_t refused, restarts;
    struct edge_reloc_rigid known, shown;
    double head[3], covariance[6][6]; /* of [x y z, rotation], about the head */
};

/* That has met no pose. */
static inline struct edge_reloc_anchor edge_reloc_anchor_new(void) {
    const double degree = 3.14159265358979323846 / 180;
    struct edge_reloc_anchor anchor;
    memset(&anchor, 0, sizeof anchor);
    anchor.drift_m = 0.01, anchor.drift_rad = 0.1 * degree;
    anchor.shared = 0.8, anchor.shared_s = 1.0;
    anchor.gate = 40.0, anchor.restart_s = 1.0;
    anchor.settle_s = 0.5, anchor.most_m_s = 0.05, anchor.most_rad_s = degree;
    return anchor;
}

/* Of a quaternion and a position, as XrPosef has them, in this order. */
static inline struct edge_reloc_rigid edge_reloc_rigid_of(double x, double y, double z, double w,
                                                          const double position[3]) {
    const double s = 2.0 / (x * x + y * y + z * z + w * w);
    struct edge_reloc_rigid a = {{{1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)},
                                  {s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)},
                                  {s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)}},
                                 {position[0], position[1], position[2]}};
    return a;
}

static inline struct edge_reloc_rigid edge_reloc_compose(const struct edge_reloc_rigid *a,
                                                         const struct edge_reloc_rigid *b) {
    struct edge_reloc_rigid c;
    for (int i = 0; i < 3; i++) {
        c.position[i] = a->position[i];
        for (int k = 0; k < 3; k++) c.position[i] += a->rotation[i][k] * b->position[k];
        for (int j = 0; j < 3; j++) {
            c.rotation[i][j] = 0;
            for (int k = 0; k < 3; k++) c.rotation[i][j] += a->rotation[i][k] * b->rotation[k][j];
        }
    }
    return c;
}

static inline struct edge_reloc_rigid edge_reloc_invert(const struct edge_reloc_rigid *a) {
    struct edge_reloc_rigid b;
    for (int i = 0; i < 3; i++) {
        b.position[i] = 0;
        for (int j = 0; j < 3; j++) {
            b.rotation[i][j] = a->rotation[j][i];
            b.position[i] -= a->rotation[j][i] * a->position[j];
        }
    }
    return b;
}

/* [d, w] that make a into b, about the head of a: moved by d, turned by Exp(w). */
static inline void edge_reloc_difference(const struct edge_reloc_rigid *a_from_local,
                                         const struct edge_reloc_rigid *b_from_local,
                                         const struct edge_reloc_rigid *local_from_head,
                                         double delta[6]) {
    const struct edge_reloc_rigid a = edge_reloc_compose(a_from_local, local_from_head);
    const struct edge_reloc_rigid b = edge_reloc_compose(b_from_local, local_from_head);
    struct edge_reloc_rigid a_inverse = edge_reloc_invert(&a);
    const struct edge_reloc_rigid turn = edge_reloc_compose(&b, &a_inverse);
    const double(*r)[3] = turn.rotation;
    const double axis[3] = {r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]};
    const double sine = sqrt(axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2]);
    const double angle = atan2(sine, r[0][0] + r[1][1] + r[2][2] - 1.0);
    for (int i = 0; i < 3; i++) {
        delta[i] = b.position[i] - a.position[i];
        delta[3 + i] = sine > 1e-12 ? axis[i] * angle / sine : axis[i] / 2; /* not half a turn */
    }
}

/* Turn by delta[3..5] about `head` (in the map), then move by delta[0..2]. */
static inline void edge_reloc_correct(struct edge_reloc_rigid *map_from_local,
                                      const double delta[6], const double head[3]) {
    const double *w = delta + 3;
    const double angle = sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2]), half = angle / 2;
    const double scale = angle > 1e-12 ? sin(half) / angle : 0.5;
    const double none[3] = {0, 0, 0};
    struct edge_reloc_rigid turn =
        edge_reloc_rigid_of(w[0] * scale, w[1] * scale, w[2] * scale, cos(half), none);
    for (int i = 0; i < 3; i++) {
        turn.position[i] = head[i] + delta[i];
        for (int k = 0; k < 3; k++) turn.position[i] -= turn.rotation[i][k] * head[k];
    }
    *map_from_local = edge_reloc_compose(&turn, map_from_local);
}

/* Solve a x = b for `columns` of b, in place; a is symmetric and positive definite. */
static inline void edge_reloc_solve(double a[6][6], double *b, int columns) {
    for (int k = 0; k < 6; k++)
        for (int i = k + 1; i < 6; i++) {
            const double f = a[i][k] / a[k][k];
            for (int j = k; j < 6; j++) a[i][j] -= f * a[k][j];
            for (int j = 0; j < columns; j++) b[i * columns + j] -= f * b[k * columns + j];
        }
    for (int k = 5; k >= 0; k--)
        for (int j = 0; j < columns; j++) {
            for (int i = k + 1; i < 6; i++) b[k * columns + j] -= a[k][i] * b[i * columns + j];
            b[k * columns + j] /= a[k][k];
        }
}

static inline void edge_reloc_anchor_begin(struct edge_reloc_anchor *anchor,
                                           const struct edge_reloc_pose *pose,
                                           const struct edge_reloc_rigid *measured) {
    anchor->restarts += anchor->begun;
    anchor->begun = 1;
    anchor->refusing = 0;
    anchor->known = anchor->shown = *measured;
    memcpy(anchor->covariance, pose->covariance, sizeof anchor->covariance);
    memcpy(anchor->head, pose->position, sizeof anchor->head);
    anchor->t_ns = pose->t_ns;
    anchor->resets = pose->reset_counter;
    if (anchor->shown_ns < pose->t_ns) anchor->shown_ns = pose->t_ns;
}

/* Covariance at a later time, about where the head is then. */
static inline void edge_reloc_anchor_drift(struct edge_reloc_anchor *anchor, int64_t t_ns,
                                           const double head[3]) {
    const double m[3] = {head[0] - anchor->head[0], head[1] - anchor->head[1],
                         head[2] - anchor->head[2]};
    const double about[3][3] = {{0, m[2], -m[1]}, {-m[2], 0, m[0]}, {m[1], -m[0], 0}}; /* -hat */
    double(*p)[6] = anchor->covariance;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 6; j++)
            for (int k = 0; k < 3; k++) p[i][j] += about[i][k] * p[3 + k][j];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 3; k++) p[i][j] += about[j][k] * p[i][3 + k];
    const double seconds = (double)(t_ns - anchor->t_ns) * 1e-9;
    for (int i = 0; i < 3; i++) {
        p[i][i] += anchor->drift_m * anchor->drift_m * seconds;
        p[3 + i][3 + i] += anchor->drift_rad * anchor->drift_rad * seconds;
        anchor->head[i] = head[i];
    }
    anchor->t_ns = t_ns;
}

/* Take a pose in; 1 where it was believed. Poses without EDGE_RELOC_HAS_POSE, and those that
   follow from motion alone, say nothing. */
static inline int edge_reloc_anchor_measure(struct edge_reloc_anchor *anchor,
                                            const struct edge_reloc_pose *pose,
                                            const struct edge_reloc_rigid *local_from_head) {
    if (!(pose->flags & EDGE_RELOC_HAS_POSE) || (pose->flags & EDGE_RELOC_PROPAGATED)) return 0;
    const double *q = pose->quat_wxyz;
    const struct edge_reloc_rigid map_from_head =
        edge_reloc_rigid_of(q[1], q[2], q[3], q[0], pose->position);
    struct edge_reloc_rigid head_from_local = edge_reloc_invert(local_from_head);
    const struct edge_reloc_rigid measured = edge_reloc_compose(&map_from_head, &head_from_local);
    if (!anchor->begun || pose->reset_counter != anchor->resets) {
        edge_reloc_anchor_begin(anchor, pose, &measured);
        return 1;
    }
    const double seconds = (double)(pose->t_ns - anchor->t_ns) * 1e-9;
    if (seconds <= 0) return 0;
    const struct edge_reloc_rigid head = edge_reloc_compose(&anchor->known, local_from_head);
    edge_reloc_anchor_drift(anchor, pose->t_ns, head.position);
    double delta[6], total[6][6], weighed[6], gain[6][6], covariance[6][6], distance = 0;
    edge_reloc_difference(&anchor->known, &measured, local_from_head, delta);
    for (int i = 0; i < 6; i++) {
        weighed[i] = delta[i];
        for (int j = 0; j < 6; j++)
            total[i][j] = anchor->covariance[i][j] + pose->covariance[6 * i + j];
    }
    edge_reloc_solve(total, weighed, 1);
    for (int i = 0; i < 6; i++) distance += delta[i] * weighed[i];
    if (distance > anchor->gate) {
        anchor->refused += 1;
        if (!anchor->refusing) anchor->refused_ns = pose->t_ns;
        anchor->refusing = 1;
        if ((double)(pose->t_ns - anchor->refused_ns) * 1e-9 < anchor->restart_s) return 0;
        edge_reloc_anchor_begin(anchor, pose, &measured);
        return 1;
    }
    const double alike = 1.0 + 2.0 * anchor->shared / (exp(seconds / anchor->shared_s) - 1.0);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            total[i][j] = anchor->covariance[i][j] + alike * pose->covariance[6 * i + j];
            gain[i][j] = anchor->covariance[i][j]; /* becomes the gain, transposed */
        }
    edge_reloc_solve(total, &gain[0][0], 6);
    for (int i = 0; i < 6; i++) {
        weighed[i] = 0;
        for (int j = 0; j < 6; j++) {
            weighed[i] += gain[j][i] * delta[j];
            covariance[i][j] = anchor->covariance[i][j];
            for (int k = 0; k < 6; k++)
                covariance[i][j] -= gain[k][i] * anchor->covariance[k][j];
        }
    }
    memcpy(anchor->covariance, covariance, sizeof covariance);
    edge_reloc_correct(&anchor->known, weighed, anchor->head);
    const struct edge_reloc_rigid now = edge_reloc_compose(&anchor->known, local_from_head);
    memcpy(anchor->head, now.position, sizeof anchor->head);
    anchor->refusing = 0;
    return 1;
}

/* map_from_local to show at a time; 0 before the first pose. */
static inline int edge_reloc_anchor_at(struct edge_reloc_anchor *anchor, int64_t t_ns,
                                       const struct edge_reloc_rigid *local_from_head,
                                       struct edge_reloc_rigid *map_from_local) {
    if (!anchor->begun) return 0;
    const double seconds = (double)(t_ns - anchor->shown_ns) * 1e-9;
    if (seconds > 0) {
        double step[6];
        edge_reloc_difference(&anchor->shown, &anchor->known, local_from_head, step);
        const double share = 1.0 - exp(-seconds / anchor->settle_s);
        for (int half = 0; half < 6; half += 3) {
            const double most = seconds * (half ? anchor->most_rad_s : anchor->most_m_s);
            const double length = share * sqrt(step[half] * step[half] +
                step[half + 1] * step[half + 1] + step[half + 2] * step[half + 2]);
            const double scale = length <= most ? share : share * most / length;
            for (int i = half; i < half + 3; i++) step[i] *= scale;
        }
        const struct edge_reloc_rigid head = edge_reloc_compose(&anchor->shown, local_from_head);
        edge_reloc_correct(&anchor->shown, step, head.position);
        anchor->shown_ns = t_ns;
    }
    *map_from_local = anchor->shown;
    return 1;
}

/* The headset put its space elsewhere: poseInPreviousSpace of
   XrEventDataReferenceSpaceChangePending, at its changeTime. */
static inline void edge_reloc_anchor_move_local(struct edge_reloc_anchor *anchor,
                                                const struct edge_reloc_rigid *previous_from_new) {
    if (!anchor->begun) return;
    anchor->known = edge_reloc_compose(&anchor->known, previous_from_new);
    anchor->shown = edge_reloc_compose(&anchor->shown, previous_from_new);
}

#endif
