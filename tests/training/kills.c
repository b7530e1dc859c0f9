/* Loaded first (LD_PRELOAD), it stands in for the calls that change files, counts those below one folder, and kills
   the process at the n-th: a write after its first half, everything else before it is done. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[4096];
static long counted, deadly;

void arm(const char *path, long call) { snprintf(folder, sizeof folder, "%s", path); counted = 0; deadly = call; }
long count(void) { return counted; }

static int below(const char *path) {
  char whole[8192];
  if (!folder[0] || !path) return 0;
  if (path[0] == '/') return strncmp(path, folder, strlen(folder)) == 0;
  if (!getcwd(whole, 4096)) return 0;
  size_t used = strlen(whole);
  snprintf(whole + used, sizeof whole - used, "/%s", path);
  return strncmp(whole, folder, strlen(folder)) == 0;
}

static int open_below(int file) {
  char link[64], path[4096];
  if (!folder[0]) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return below(path);
}

static int is_deadly(void) { return ++counted == deadly; }
static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define REAL(type, name, ...) \
  static type (*real)(__VA_ARGS__); \
  if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int file, const void *bytes, size_t size) {
  REAL(ssize_t, "write", int, const void *, size_t);
  if (open_below(file) && is_deadly()) { real(file, bytes, size / 2); die(); }
  return real(file, bytes, size);
}
ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  if (open_below(file) && is_deadly()) { real(file, bytes, size / 2, at); die(); }
  return real(file, bytes, size, at);
}
int fsync(int file) {
  REAL(int, "fsync", int);
  if (open_below(file) && is_deadly()) die();
  return real(file);
}
int ftruncate64(int file, off64_t size) {
  REAL(int, "ftruncate64", int, off64_t);
  if (open_below(file) && is_deadly()) die();
  return real(file, size);
}
int rename(const char *from, const char *to) {
  REAL(int, "rename", const char *, const char *);
  if (below(to) && is_deadly()) die();
  return real(from, to);
}
int mkdir(const char *path, mode_t mode) {
  REAL(int, "mkdir", const char *, mode_t);
  if (below(path) && is_deadly()) die();
  return real(path, mode);
}
int unlink(const char *path) {
  REAL(int, "unlink", const char *);
  if (below(path) && is_deadly()) die();
  return real(path);
}
