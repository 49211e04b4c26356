/* The builder VM's init: sets the machine up, then runs commands that it receives over a virtio-serial port.
 *
 * Header of a frame, in both directions: 32-bit length of the body, 8-bit type, 32-bit command id; all little-endian.
 *   host to guest   R run: counted NUL-terminated strings: cwd, then argv, then environment (see parse_run)
 *                   I input: bytes for standard input      E end of input      K kill the command
 *   guest to host   Y ready: text about the machine        O stdout    S stderr
 *                   A input accepted: 32-bit count of bytes written to standard input, so that the host may send more
 *                   X exit: 32-bit exit status, 32-bit signal                  F failed to start: errno text
 *
 * Each command runs in its own cgroup, so that killing it also kills its child processes. A command has ended when
 * its first process has ended. Remaining processes are then killed, so that the pipes always reach their end.
 *
 * Kernel interfaces: cgroups(7), Documentation/admin-guide/cgroup-v2.rst (cgroup.kill, Linux 5.14), finit_module(2),
 * Documentation/admin-guide/devices.txt (vport). Kernel parameter: agent=probe powers off immediately.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEADER 9
#define MAX_FRAME (16 << 20)
#define PIPE_READ (128 << 10)

struct command {
  struct command *next;
  uint32_t id;
  pid_t pid;
  int in, out, err;
  int input_ended;
  int exited;
  int status;
  char *pending; /* input that the command has not read yet; the host's window limits it */
  size_t pending_length, pending_done;
};

static struct command *commands;
static int port = -1;

static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "agent: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  va_end(arguments);
  sync();
  reboot(RB_POWER_OFF);
  exit(1);
}

static void put32(unsigned char *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = value >> (8 * i);
}

static uint32_t get32(const unsigned char *at) {
  return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

static void write_all(int fd, const void *data, size_t length) {
  const char *at = data;
  while (length > 0) {
    ssize_t count = write(fd, at, length);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) {
      struct pollfd wait = {.fd = fd, .events = POLLOUT};
      poll(&wait, 1, 1000);
      continue;
    }
    if (count <= 0) die("lost the connection to the host: %s", strerror(errno));
    at += count;
    length -= count;
  }
}

/* Writes header and body at once, because each write to virtio-serial costs a VM exit. */
static void send_frame(char type, uint32_t id, const void *body, uint32_t length) {
  static unsigned char buffer[HEADER + PIPE_READ];
  put32(buffer, length);
  buffer[4] = type;
  put32(buffer + 5, id);
  memcpy(buffer + HEADER, body, length);
  write_all(port, buffer, HEADER + length);
}

static void write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, text, strlen(text)) < 0) { /* errors have no consequence here */ }
  close(fd);
}

static void cgroup_path(char *path, size_t size, uint32_t id, const char *file) {
  snprintf(path, size, "/sys/fs/cgroup/command-%u%s", id, file);
}

static void kill_tree(struct command *command) {
  char path[96];
  cgroup_path(path, sizeof path, command->id, "/cgroup.kill");
  write_file(path, "1");
}

static void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

/* The body of a run frame: 32-bit counts of argv and environment, then cwd, argv and environment, NUL-terminated. */
static void start_command(uint32_t id, char *body, uint32_t length) {
  if (length < 8 || body[length - 1] != 0) die("malformed run frame");
  uint32_t argc = get32((unsigned char *)body), envc = get32((unsigned char *)body + 4);
  char *at = body + 8, *end = body + length;
  char **argv = calloc(argc + 1, sizeof *argv), **env = calloc(envc + 1, sizeof *env);
  char *cwd = at;
  at += strlen(at) + 1;
  for (uint32_t i = 0; i < argc && at < end; i++, at += strlen(at) + 1) argv[i] = at;
  for (uint32_t i = 0; i < envc && at < end; i++, at += strlen(at) + 1) env[i] = at;

  char cgroup[96];
  cgroup_path(cgroup, sizeof cgroup, id, "");
  mkdir(cgroup, 0755);
  cgroup_path(cgroup, sizeof cgroup, id, "/cgroup.procs");

  int in[2], out[2], err[2], fault[2];
  if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) || pipe2(fault, O_CLOEXEC))
    die("pipe: %s", strerror(errno));
  fcntl(out[0], F_SETPIPE_SZ, 1 << 20);
  pid_t pid = fork();
  if (pid < 0) die("fork: %s", strerror(errno));
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    write_file(cgroup, "0");
    dup2(in[0], 0);
    dup2(out[1], 1);
    dup2(err[1], 2);
    if (*cwd == 0 || chdir(cwd) == 0) {
      clearenv();
      for (char **variable = env; *variable; variable++) putenv(*variable);
      execvp(argv[0], argv);
    }
    int failed = errno;
    if (write(fault[1], &failed, sizeof failed) < 0) { /* the parent sees an exit status of 127 */ }
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  close(err[1]);
  close(fault[1]);
  free(argv);
  free(env);
  int failed = 0;
  ssize_t got = read(fault[0], &failed, sizeof failed);
  close(fault[0]);
  if (got == sizeof failed) {
    waitpid(pid, NULL, 0);
    close(in[1]);
    close(out[0]);
    close(err[0]);
    cgroup_path(cgroup, sizeof cgroup, id, "");
    rmdir(cgroup);
    const char *name = failed == ENOENT ? "ENOENT" : strerror(failed);
    send_frame('F', id, name, strlen(name));
    return;
  }
  struct command *command = calloc(1, sizeof *command);
  command->id = id;
  command->pid = pid;
  command->in = in[1];
  command->out = out[0];
  command->err = err[0];
  fcntl(command->in, F_SETFL, O_NONBLOCK);
  command->next = commands;
  commands = command;
}

static struct command *find_command(uint32_t id) {
  for (struct command *command = commands; command; command = command->next)
    if (command->id == id) return command;
  return NULL;
}

static void acknowledge(struct command *command, uint32_t count) {
  unsigned char body[4];
  put32(body, count);
  send_frame('A', command->id, body, sizeof body);
}

/* Writes pending input to the command, as much as its pipe accepts. */
static void feed(struct command *command) {
  while (command->in >= 0 && command->pending_done < command->pending_length) {
    ssize_t count = write(command->in, command->pending + command->pending_done, command->pending_length - command->pending_done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) {
      /* The command has closed its input, like `head`: the rest is dropped, and acknowledged to the host. */
      acknowledge(command, command->pending_length - command->pending_done);
      command->pending_done = command->pending_length;
      close_fd(&command->in);
      return;
    }
    command->pending_done += count;
    acknowledge(command, count);
  }
  if (command->pending_done == command->pending_length) {
    command->pending_done = command->pending_length = 0;
    if (command->input_ended) close_fd(&command->in);
  }
}

static void handle_frame(char type, uint32_t id, char *body, uint32_t length) {
  if (type == 'R') {
    start_command(id, body, length);
    return;
  }
  struct command *command = find_command(id);
  if (command == NULL) return; /* it ended meanwhile */
  if (type == 'I') {
    if (command->in < 0) {
      acknowledge(command, length);
      return;
    }
    size_t rest = command->pending_length - command->pending_done;
    char *joined = malloc(rest + length);
    if (joined == NULL) die("out of memory");
    memcpy(joined, command->pending + command->pending_done, rest);
    memcpy(joined + rest, body, length);
    free(command->pending);
    command->pending = joined;
    command->pending_length = rest + length;
    command->pending_done = 0;
    feed(command);
  } else if (type == 'E') {
    command->input_ended = 1;
    feed(command);
  } else if (type == 'K') {
    kill_tree(command);
  }
}

/* Reads from the port, and handles complete frames. */
static void read_port(void) {
  static unsigned char *buffer;
  static size_t length, capacity;
  if (capacity - length < (64 << 10)) {
    capacity = length + (256 << 10);
    buffer = realloc(buffer, capacity);
    if (buffer == NULL) die("out of memory");
  }
  ssize_t count = read(port, buffer + length, capacity - length);
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (count <= 0) return; /* the host is not connected */
  length += count;
  size_t done = 0;
  while (length - done >= HEADER) {
    uint32_t size = get32(buffer + done);
    if (size > MAX_FRAME) die("frame of %u bytes", size);
    if (length - done < HEADER + size) break;
    handle_frame(buffer[done + 4], get32(buffer + done + 5), (char *)buffer + done + HEADER, size);
    done += HEADER + size;
  }
  memmove(buffer, buffer + done, length - done);
  length -= done;
}

static void forward(struct command *command, int *fd, char type) {
  static char buffer[PIPE_READ];
  ssize_t count = read(*fd, buffer, sizeof buffer);
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (count <= 0) {
    close_fd(fd);
    return;
  }
  send_frame(type, command->id, buffer, count);
}

static void reap(void) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
    for (struct command *command = commands; command; command = command->next)
      if (command->pid == pid) {
        command->exited = 1;
        command->status = status;
        kill_tree(command);
      }
}

static void finish(struct command *command) {
  unsigned char body[8];
  put32(body, WIFEXITED(command->status) ? WEXITSTATUS(command->status) : 0);
  put32(body + 4, WIFSIGNALED(command->status) ? WTERMSIG(command->status) : 0);
  send_frame('X', command->id, body, sizeof body);
  char cgroup[96];
  cgroup_path(cgroup, sizeof cgroup, command->id, "");
  /* Killed processes leave the cgroup only when they are reaped. */
  for (int i = 0; i < 100 && rmdir(cgroup) != 0 && errno == EBUSY; i++) {
    waitpid(-1, NULL, WNOHANG);
    usleep(1000);
  }
  close_fd(&command->in);
  free(command->pending);
  for (struct command **link = &commands; *link; link = &(*link)->next)
    if (*link == command) {
      *link = command->next;
      break;
    }
  free(command);
}

static void load_modules(void) {
  FILE *list = fopen("/modules/load", "re");
  char line[256], path[300];
  if (list == NULL) return;
  while (fgets(line, sizeof line, list)) {
    line[strcspn(line, "\n")] = 0;
    snprintf(path, sizeof path, "/modules/%s", line);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST && errno != ENODEV))
      fprintf(stderr, "agent: cannot load %s: %s\n", line, strerror(errno));
    close(fd);
  }
  fclose(list);
}

static int open_port(void) {
  for (int attempt = 0; attempt < 2000; attempt++) {
    DIR *directory = opendir("/sys/class/virtio-ports");
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
      char path[300], name[64] = "";
      snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
      FILE *file = fopen(path, "re");
      if (file == NULL) continue;
      if (fgets(name, sizeof name, file) == NULL) name[0] = 0;
      fclose(file);
      if (strcmp(name, "nixos-disk-image\n") != 0) continue;
      snprintf(path, sizeof path, "/dev/%s", entry->d_name);
      int fd = open(path, O_RDWR | O_CLOEXEC);
      closedir(directory);
      if (fd >= 0) return fd;
      directory = NULL;
    }
    if (directory) closedir(directory);
    /* The host sends the port's name in a separate message, after the device appears. */
    usleep(1000);
  }
  die("no virtio-serial port named nixos-disk-image");
  return -1;
}

static void set_up(void) {
  mkdir("/proc", 0755);
  mkdir("/sys", 0755);
  mkdir("/dev", 0755);
  mkdir("/run", 0755);
  mkdir("/tmp", 01777);
  mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
  mkdir("/dev/pts", 0755);
  mkdir("/dev/shm", 01777);
  mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666");
  mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
  mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
  if (symlink("/proc/self/fd", "/dev/fd") || symlink("/proc/self/fd/0", "/dev/stdin") || symlink("/proc/self/fd/1", "/dev/stdout") ||
      symlink("/proc/self/fd/2", "/dev/stderr")) { /* they exist already */ }
  load_modules();
  if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
    die("cannot mount cgroup2: %s", strerror(errno));
}

int main(void) {
  char cmdline[4096] = "";
  set_up();
  int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
  if (read(fd, cmdline, sizeof cmdline - 1) < 0) die("cannot read /proc/cmdline");
  close(fd);
  if (strstr(cmdline, "agent=probe")) {
    reboot(RB_POWER_OFF);
    return 0;
  }
  signal(SIGPIPE, SIG_IGN);
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &children, NULL);
  int child_fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
  port = open_port();
  send_frame('Y', 0, "ready", 5);

  for (;;) {
    struct pollfd fds[2 + 3 * 64];
    struct command *owners[2 + 3 * 64];
    int count = 0;
    fds[count++] = (struct pollfd){.fd = port, .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = child_fd, .events = POLLIN};
    for (struct command *command = commands; command && count + 3 < 2 + 3 * 64; command = command->next) {
      int watched[3] = {command->out, command->err, command->pending_length > command->pending_done ? command->in : -1};
      for (int i = 0; i < 3; i++) {
        owners[count] = command;
        fds[count++] = (struct pollfd){.fd = watched[i], .events = i == 2 ? POLLOUT : POLLIN};
      }
    }
    if (poll(fds, count, -1) < 0 && errno != EINTR) die("poll: %s", strerror(errno));
    for (int i = 2; i < count; i++) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      struct command *command = owners[i];
      if (fds[i].fd == command->out) forward(command, &command->out, 'O');
      else if (fds[i].fd == command->err) forward(command, &command->err, 'S');
      else if (fds[i].fd == command->in) feed(command);
    }
    if (fds[1].revents) {
      struct signalfd_siginfo info[16];
      while (read(child_fd, info, sizeof info) > 0) {}
      reap();
    }
    for (struct command *command = commands, *next; command; command = next) {
      next = command->next;
      if (command->exited && command->out < 0 && command->err < 0) finish(command);
    }
    if (fds[0].revents & POLLIN) read_port();
    else if (fds[0].revents & POLLHUP) {
      /* The host is not connected. */
      usleep(10000);
    }
  }
}
