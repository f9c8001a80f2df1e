/*
 * A request and its reply: how are events learned, how are bytes taken, and should a loop look again before it sleeps?
 *
 * A process of its own has 200 connections (20, and 1, for the second question) with one request of 400 B under way on
 * each; this one returns every request on one thread. Measured is the processor time of that thread for a request,
 * from the first request to the last connection's end.
 */
#include "uring.h"
#include <sys/ioctl.h>

enum { MAX = 200, BYTES = 400, BUFFER = 64 << 10, EVENTS = 512, BUFFERS = 512, BUFFER_OF_RING = 4096 };

#ifndef EPIOCSPARAMS /* Linux 6.9 */
struct epoll_params {
	uint32_t busy_poll_usecs;
	uint16_t busy_poll_budget;
	uint8_t prefer_busy_poll, pad;
};
#define EPIOCSPARAMS _IOW(0x8A, 0x01, struct epoll_params)
#endif

static int connections, requests, fds[MAX];
static char buffer[BUFFER];
static double asked, slept; /* waits, and those that could sleep */

/* ask is the other side: it makes requests/connections requests on each connection. */
static void ask(const struct sockaddr_in *a) {
	struct epoll_event events[EVENTS];
	static int fd[MAX], got[MAX], todo[MAX];
	int ep = epoll_create1(0), open = connections;
	for (int i = 0; i < connections; i++) {
		fd[i] = connect_to(a);
		todo[i] = requests / connections;
		watch(ep, EPOLL_CTL_ADD, fd[i], EPOLLIN, (uint64_t)i);
	}
	for (int i = 0; i < connections; i++)
		send(fd[i], buffer, BYTES, 0);
	while (open > 0) {
		int n = epoll_wait(ep, events, EVENTS, -1);
		for (int k = 0; k < n; k++) {
			int i = (int)events[k].data.u64;
			ssize_t r = recv(fd[i], buffer, BUFFER, MSG_DONTWAIT);
			if (r <= 0)
				fail("reply");
			got[i] += (int)r;
			if (got[i] < BYTES)
				continue;
			got[i] = 0;
			if (--todo[i] > 0) {
				send(fd[i], buffer, BYTES, 0);
				continue;
			}
			close(fd[i]);
			open--;
		}
	}
	_exit(0);
}

/* returns one reply; 1: the connection has ended, 0: read again, -1: nothing more is there. */
static int answer(int fd) {
	ssize_t n = recv(fd, buffer, BUFFER, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return -1;
	if (n <= 0)
		return 1;
	if (send(fd, buffer, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
		fail("send");
	return 0;
}

/* wait_for looks without waiting for at least spin ns (0: once, below 0: never) and then sleeps. */
static int wait_for(int ep, struct epoll_event *events, double spin) {
	double until = spin > 0 ? clock_of(CLOCK_MONOTONIC) + spin : 0;
	int n;
	if (spin >= 0)
		do {
			asked++;
			if ((n = epoll_wait(ep, events, EVENTS, 0)) > 0)
				return n;
		} while (spin > 0 && clock_of(CLOCK_MONOTONIC) < until);
	asked++;
	slept++;
	n = epoll_wait(ep, events, EVENTS, -1);
	if (n < 0)
		fail("epoll_wait");
	return n;
}

/* by_epoll: drain is to read until there is nothing, which edges ask for unless a read was short. */
static void by_epoll(int ep, uint32_t flags, int drain, double spin) {
	struct epoll_event events[EVENTS];
	int open = connections, r;
	for (int i = 0; i < connections; i++)
		watch(ep, EPOLL_CTL_ADD, fds[i], EPOLLIN | flags, (uint64_t)fds[i]);
	while (open > 0) {
		int n = wait_for(ep, events, spin);
		for (int i = 0; i < n; i++) {
			do
				r = answer(events[i].data.fd);
			while (r == 0 && drain);
			if (r == 1) {
				close(events[i].data.fd);
				open--;
			}
		}
	}
}

/* Which connection and buffer a completion is about; a receive has no buffer before it completes. */
enum { RECEIVE = 1 << 30 };

static struct io_uring_buf_ring *pool;
static char *buffers;

static void give_back(int id) {
	struct io_uring_buf *b = &pool->bufs[pool->tail & (BUFFERS - 1)];
	b->addr = (uint64_t)(uintptr_t)(buffers + id * BUFFER_OF_RING);
	b->len = BUFFER_OF_RING;
	b->bid = (uint16_t)id;
	__atomic_store_n(&pool->tail, (uint16_t)(pool->tail + 1), __ATOMIC_RELEASE);
}

static void receive(struct uring *u, int i) {
	struct io_uring_sqe *s = uring_next(u);
	s->opcode = IORING_OP_RECV;
	s->fd = i;
	s->flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
	s->ioprio = IORING_RECV_MULTISHOT;
	s->user_data = RECEIVE | (uint64_t)i;
}

static int by_ring(void) {
	struct uring u;
	struct io_uring_cqe cqe;
	if (uring_open(&u, 256) < 0)
		return -1;
	pool = mmap(NULL, BUFFERS * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	buffers = mmap(NULL, BUFFERS * BUFFER_OF_RING, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)pool, .ring_entries = BUFFERS};
	if (uring_register(&u, IORING_REGISTER_PBUF_RING, &reg, 1) < 0 ||
	    uring_register(&u, IORING_REGISTER_FILES, fds, (unsigned)connections) < 0)
		fail("register");
	for (int i = 0; i < BUFFERS; i++)
		give_back(i);
	for (int i = 0; i < connections; i++)
		receive(&u, i);
	for (int open = connections; open > 0;) {
		uring_enter(&u, 1);
		while (uring_reap(&u, &cqe)) {
			if (!(cqe.user_data & RECEIVE)) { /* a reply has gone */
				if (cqe.res != BYTES)
					fail("send");
				give_back((int)cqe.user_data);
				continue;
			}
			int i = (int)(cqe.user_data & ~(uint64_t)RECEIVE);
			if (cqe.res == 0) {
				close(fds[i]);
				open--;
				continue;
			}
			if (cqe.res < 0 && cqe.res != -ENOBUFS)
				fail("receive");
			if (!(cqe.flags & IORING_CQE_F_MORE))
				receive(&u, i);
			if (cqe.res < 0)
				continue;
			int id = (int)(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
			struct io_uring_sqe *s = uring_next(&u);
			s->opcode = IORING_OP_SEND;
			s->fd = i;
			s->flags = IOSQE_FIXED_FILE;
			s->addr = (uint64_t)(uintptr_t)(buffers + id * BUFFER_OF_RING);
			s->len = (uint32_t)cqe.res;
			s->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
			s->user_data = (uint64_t)id;
		}
	}
	asked = slept = u.calls;
	close(u.fd);
	munmap(pool, BUFFERS * sizeof(struct io_uring_buf));
	munmap(buffers, BUFFERS * BUFFER_OF_RING);
	return 0;
}

/* serve does one turn with the connections of a process of its own. */
static int serve(double *figures, int busy_poll, uint32_t flags, int drain, double spin, int uring) {
	struct sockaddr_in a = {0};
	int listener = listen_on(&a, 0), ep = epoll_create1(0), result = 0;
	asked = slept = 0;
	pid_t pid = other_side();
	if (pid == 0)
		ask(&a);
	for (int i = 0; i < connections; i++) {
		fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		at_once(fds[i], 1);
		if (busy_poll && setsockopt(fds[i], SOL_SOCKET, SO_BUSY_POLL, &busy_poll, sizeof busy_poll) < 0)
			result = -1;
	}
	struct epoll_params params = {.busy_poll_usecs = (uint32_t)busy_poll, .busy_poll_budget = 8};
	if (busy_poll && ioctl(ep, EPIOCSPARAMS, &params) < 0)
		result = -1;
	int why = errno;
	double cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID), wall = clock_of(CLOCK_MONOTONIC);
	if (uring && result == 0 && (result = by_ring()) < 0)
		why = errno;
	if (!uring && result == 0)
		by_epoll(ep, flags, drain, spin);
	figures[0] = (clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu) / requests / 1e3;
	figures[1] = asked / requests;
	figures[2] = slept / requests;
	figures[3] = requests / (clock_of(CLOCK_MONOTONIC) - wall) * 1e6;
	if (result < 0)
		kill(pid, SIGKILL);
	for (int i = 0; i < connections && result < 0; i++)
		close(fds[i]);
	waitpid(pid, NULL, 0);
	close(listener);
	close(ep);
	errno = why;
	return result;
}

static int events_turn(int variant, double *figures) {
	switch (variant) {
	case 0:
		return serve(figures, 0, 0, 0, 0, 0);
	case 1:
		return serve(figures, 0, EPOLLET, 1, 0, 0);
	case 2:
		return serve(figures, 0, EPOLLET, 0, 0, 0);
	}
	return serve(figures, 0, 0, 0, 0, 1);
}

static int sleep_turn(int variant, double *figures) {
	static const double spin[] = {0, -1, 10e3, 50e3, 0};
	return serve(figures, variant == 4 ? 50 : 0, 0, 0, spin[variant], 0);
}

int main(void) {
	struct experiment e = {"Requests on 200 connections: how events are learned",
	                       {"us a request", "waits each", "sleeps each", "1000/s", NULL},
	                       {"epoll by level, recv, send", "epoll by edge, recv until there is nothing",
	                        "epoll by edge, one recv when it is short", "io_uring, multishot recv, send", NULL},
	                       events_turn};
	connections = 200;
	requests = 40000;
	take_turns(&e);
	for (const int *n = (const int[]){200, 20, 1, 0}; *n; n++) {
		char title[80];
		snprintf(title, sizeof title, "Requests on %d connection(s): looking again before sleeping", *n);
		struct experiment s = {title,
		                       {"us a request", "waits each", "sleeps each", "1000/s", NULL},
		                       {"look once, then sleep", "sleep at once", "look for 10 us, then sleep",
		                        "look for 50 us, then sleep", "look once, SO_BUSY_POLL and epoll's own", NULL},
		                       sleep_turn};
		connections = *n;
		requests = *n == 1 ? 5000 : 20000;
		take_turns(&s);
	}
}
