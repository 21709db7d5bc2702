// PX4's estimator as a filter of lines: sensors in, states out. Built by ekf2.py beside PX4's own
// sources; none of them is in this repository.
//
//   in   imu t_us  dangle(3) rad  dvelocity(3) m/s  dt_s
//        ev  t_us  x y z  qw qx qy qz  position_var(3)  orientation_var(3)  frame reset quality
//   out  t_us  x y z  qw qx qy qz  ev_position ev_height ev_yaw
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "ekf.h"

int main(int argc, char **argv)
{
	Ekf ekf;
	auto *params = ekf.getParamHandle();
	params->ekf2_ev_ctrl = 0b1011; // horizontal, vertical, yaw
	params->ekf2_hgt_ref = 3;      // vision
	params->ekf2_ev_delay = 0.f;   // stamps are those of the capture
	if (argc > 1) { sscanf(argv[1], "%" SCNd32, &params->ekf2_ev_qmin); }

	bool begun = false;
	char kind[8];
	uint64_t t_us;

	while (scanf("%7s %" SCNu64, kind, &t_us) == 2) {
		if (!begun) {
			ekf.init(t_us);
			ekf.set_in_air_status(true);
			begun = true;
		}

		if (strcmp(kind, "imu") == 0) {
			imuSample imu{};
			imu.time_us = t_us;
			float dt;
			auto &w = imu.delta_ang, &a = imu.delta_vel;

			if (scanf("%f %f %f %f %f %f %f", &w(0), &w(1), &w(2), &a(0), &a(1), &a(2), &dt) != 7) { return 1; }

			imu.delta_ang_dt = imu.delta_vel_dt = dt;
			ekf.setIMUData(imu);

			if (ekf.update()) {
				const auto p = ekf.getPosition();
				const auto &q = ekf.getQuaternion();
				const auto &flags = ekf.control_status_flags();
				printf("%" PRIu64 " %.6f %.6f %.6f %.7f %.7f %.7f %.7f %d %d %d\n", t_us,
				       (double)p(0), (double)p(1), (double)p(2),
				       (double)q(0), (double)q(1), (double)q(2), (double)q(3),
				       (int)flags.ev_pos, (int)flags.ev_hgt, (int)flags.ev_yaw);
			}

		} else {
			extVisionSample ev{};
			ev.time_us = t_us;
			int frame, reset, quality;
			auto &x = ev.pos, &pv = ev.position_var, &qv = ev.orientation_var;

			if (scanf("%f %f %f %f %f %f %f %f %f %f %f %f %f %d %d %d", &x(0), &x(1), &x(2),
				  &ev.quat(0), &ev.quat(1), &ev.quat(2), &ev.quat(3), &pv(0), &pv(1), &pv(2),
				  &qv(0), &qv(1), &qv(2), &frame, &reset, &quality) != 16) { return 1; }

			ev.vel.setNaN();
			ev.pos_frame = frame == 1 ? PositionFrame::LOCAL_FRAME_NED : PositionFrame::LOCAL_FRAME_FRD;
			ev.reset_counter = (uint8_t)reset;
			ev.quality = (int8_t)quality;
			ekf.setExtVisionData(ev);
		}
	}

	return 0;
}
