/* Poses of `edge-reloc run --output shm:NAME`, for programs that are not Python.

   The file /dev/shm/NAME holds a header and a ring of poses; the newest is read without a lock
   and without waiting. Version 1. Little-endian. See docs/headsets.md.

   Units: metres where `metric` is 1, otherwise the map's own; radians; nanoseconds of
   CLOCK_MONOTONIC. Axes: `axes`. A pose takes points of the body to the world:
   world = rotate(quat_wxyz, body) + position. Its covariance is of [x y z, rotation about the
   world's axes], row by row: the true position is position + d, the true rotation
   Exp(w) * rotation. */
#ifndef EDGE_RELOC_POSES_H
#define EDGE_RELOC_POSES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EDGE_RELOC_MAGIC "EDGEPOSE"
#define EDGE_RELOC_VERSION 1u

enum edge_reloc_axes {
    /* World: as the map. Body: the camera (x right, y down, z forward) or, where `mounted` is 1,
       what it is mounted on (x forward, y left, z up). */
    EDGE_RELOC_AXES_MAP = 0,
    /* World and body: x right, y up, z back, as OpenXR; the world is level. */
    EDGE_RELOC_AXES_OPENXR = 1
};
enum edge_reloc_flags { /* bits of `flags` */
    EDGE_RELOC_HAS_POSE = 1, /* position, quat_wxyz and covariance count */
    EDGE_RELOC_PROPAGATED = 2, /* follows from motion alone: there is no frame at t_ns */
    EDGE_RELOC_TRACKED = 4
};
enum edge_reloc_status { /* of the frame; UNCERTAIN is what Python calls DEGRADED */
    EDGE_RELOC_OK = 0, EDGE_RELOC_UNCERTAIN, EDGE_RELOC_NO_FEATURES, EDGE_RELOC_NO_MATCHES,
    EDGE_RELOC_NO_POSE, EDGE_RELOC_IMPLAUSIBLE, EDGE_RELOC_NOT_LOADED
};
enum edge_reloc_state { /* of the stream */
    EDGE_RELOC_NO_STATE = 0, EDGE_RELOC_SEARCHING, EDGE_RELOC_TRACKING, EDGE_RELOC_DEGRADED,
    EDGE_RELOC_LOST
};

struct edge_reloc_pose { /* 448 bytes */
    uint64_t sequence; /* 2 n when pose n (1, 2, ...) is whole, odd while it is written */
    uint32_t crc32; /* of the bytes after it, as zlib computes it */
    uint32_t flags;
    int64_t t_ns; /* middle of the exposure */
    int64_t written_ns;
    uint64_t frame;
    uint32_t status, state;
    uint32_t reset_counter; /* counts jumps of the poses */
    uint32_t inliers;
    double p_right; /* chance that the pose is right; NaN: unknown */
    double position[3];
    double quat_wxyz[4];
    double covariance[36];
    uint8_t reserved[40];
};

struct edge_reloc_poses { /* 256 bytes before the ring */
    char magic[8];
    uint32_t version, header_bytes, pose_bytes, slots;
    uint64_t written; /* poses so far */
    uint64_t session; /* changes when another run writes here */
    uint32_t writing; /* 1 while a run is open; a killed one leaves it 1: see written_ns */
    uint32_t axes, mounted, metric;
    char map_name[64]; /* ends with 0 */
    uint8_t reserved[136];
    struct edge_reloc_pose ring[];
};

static inline uint32_t edge_reloc_crc32(const void *data, size_t nbytes) {
    static const uint32_t of_nibble[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
        0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
        0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu};
    const uint8_t *byte = (const uint8_t *)data;
    uint32_t crc = ~0u;
    while (nbytes--) {
        crc ^= *byte++;
        crc = (crc >> 4) ^ of_nibble[crc & 15];
        crc = (crc >> 4) ^ of_nibble[crc & 15];
    }
    return ~crc;
}

/* Whether `nbytes` of memory hold such a ring. */
static inline int edge_reloc_fits(const struct edge_reloc_poses *poses, size_t nbytes) {
    return nbytes >= sizeof *poses && !memcmp(poses->magic, EDGE_RELOC_MAGIC, 8) &&
           poses->version == EDGE_RELOC_VERSION && poses->header_bytes == sizeof *poses &&
           poses->pose_bytes == sizeof poses->ring[0] && poses->slots > 0 &&
           nbytes >= sizeof *poses + (size_t)poses->slots * sizeof poses->ring[0];
}

/* Copy the newest pose; its number (1, 2, ...), or 0 while there is none or it is being written:
   ask again. Compilers other than gcc and clang need their own __atomic. */
static inline uint64_t edge_reloc_newest(const struct edge_reloc_poses *poses,
                                         struct edge_reloc_pose *pose) {
    const uint64_t number = __atomic_load_n(&poses->written, __ATOMIC_ACQUIRE);
    if (!number) return 0;
    const struct edge_reloc_pose *slot = &poses->ring[(number - 1) % poses->slots];
    const uint64_t before = __atomic_load_n(&slot->sequence, __ATOMIC_ACQUIRE);
    memcpy(pose, slot, sizeof *pose);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    const uint64_t after = __atomic_load_n(&slot->sequence, __ATOMIC_RELAXED);
    if (before != 2 * number || after != before) return 0;
    /* The writer is Python, which has no memory barriers: a checksum stands for them. */
    const size_t start = offsetof(struct edge_reloc_pose, flags);
    const uint8_t *checked = (const uint8_t *)pose + start;
    return edge_reloc_crc32(checked, sizeof *pose - start) == pose->crc32 ? number : 0;
}

#endif
