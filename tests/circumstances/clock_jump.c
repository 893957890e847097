/* Set the wall clock of a process and its children CLOCK_JUMP_SECONDS ahead (or back) once CLOCK_JUMP_FILE exists.
 *
 * Preloaded by LD_PRELOAD. The monotonic clock is left alone, as when somebody sets the time. The kernel's clock stays
 * where it is, so waits until a moment of the wall clock are moved back to it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define WALL 1000000000L /* seconds: a wall clock is beyond, a monotonic one is not */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static time_t jump(void) {
  static volatile time_t jumped;
  static const char *file, *seconds;
  if (jumped) return jumped;
  if (!file) seconds = getenv("CLOCK_JUMP_SECONDS"), file = getenv("CLOCK_JUMP_FILE");
  if (file && seconds && access(file, F_OK) == 0) jumped = atol(seconds);
  return jumped;
}

static struct timespec to_kernel(const struct timespec *when) {
  struct timespec moved = *when;
  if (moved.tv_sec > WALL) moved.tv_sec -= jump();
  return moved;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += jump();
  return result;
}

int gettimeofday(struct timeval *now, void *zone) {
  int result = syscall(SYS_gettimeofday, now, zone);
  if (result == 0 && now) now->tv_sec += jump();
  return result;
}

time_t time(time_t *now) {
  struct timespec moment;
  clock_gettime(CLOCK_REALTIME, &moment);
  if (now) *now = moment.tv_sec;
  return moment.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
  static __typeof__(&pthread_cond_timedwait) wait;
  struct timespec moved = to_kernel(until);
  if (!wait) wait = (__typeof__(wait))dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
  return wait(condition, mutex, &moved);
}

int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until) {
  struct timespec moved = to_kernel(until);
  return REAL(pthread_mutex_timedlock)(mutex, &moved);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
  struct timespec moved = to_kernel(until);
  return REAL(sem_timedwait)(semaphore, &moved);
}

int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until) {
  struct timespec moved = to_kernel(until);
  return REAL(sem_clockwait)(semaphore, clock, &moved);
}

long syscall(long number, ...) {
  static __typeof__(&syscall) call;
  struct timespec moved;
  va_list rest;
  long a[6];
  va_start(rest, number);
  for (int k = 0; k < 6; k++) a[k] = va_arg(rest, long);
  va_end(rest);
  if (!call) call = REAL(syscall);
  if (number == SYS_futex && a[3] && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && (a[1] & FUTEX_CLOCK_REALTIME))
    moved = to_kernel((const struct timespec *)a[3]), a[3] = (long)&moved;
  return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
