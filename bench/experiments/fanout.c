/*
 * One message to 2,000 connections: which system call sends it?
 *
 * A process of its own reads, and throws away without copying. What is measured is the processor time of sending until
 * the kernel has everything, with waiting for room and, for MSG_ZEROCOPY, with reading the completions. Before the
 * next message all readers have the last one; that wait does not count.
 *
 * Each small message wakes the reader when it sleeps, on this very machine, which a minion elsewhere does not do. So
 * one measurement has a reader that is not woken: it reads when everything has been sent.
 */
#include "uring.h"
#include <linux/errqueue.h>

enum { N = 2000, BATCH = 256, GATHERED = 8, EVENTS = 512 };
enum { SEND, GATHER_COPY, GATHER_IOV, ZEROCOPY, RING, RING_FIXED, RING_ZEROCOPY };

static int fds[N];
static size_t left[N], size, times;
static char *message;
static int epoll;
static double calls, copied, fallbacks;
static long zerocopies; /* completions that are not read yet */
static uint64_t *received, *expected, sent; /* received and expected: bytes, seen by both sides */
static int asleep, bell[2]; /* the reader waits for a bell instead of for its connections */
static struct uring ring;

static void read_all(const struct sockaddr_in *a) {
	struct epoll_event events[EVENTS];
	int ep = epoll_create1(0);
	for (int i = 0; i < N; i++) {
		int fd = connect_to(a);
		watch(ep, EPOLL_CTL_ADD, fd, EPOLLIN, (uint64_t)fd);
	}
	for (;;) {
		char c;
		int n = epoll_wait(ep, events, EVENTS, asleep ? 0 : -1);
		if (n == 0 && *received == __atomic_load_n(expected, __ATOMIC_ACQUIRE) && read(bell[0], &c, 1) <= 0)
			_exit(0);
		for (int i = 0; i < n; i++) {
			ssize_t got = recv(events[i].data.fd, NULL, 4 << 20, MSG_TRUNC | MSG_DONTWAIT);
			if (got == 0)
				_exit(0);
			if (got > 0)
				__atomic_add_fetch(received, (uint64_t)got, __ATOMIC_RELAXED);
		}
	}
}

/* push sends what fits to one connection; 1: all has gone. */
static int push(int i, int flags) {
	while (left[i] > 0) {
		calls++;
		ssize_t n = send(fds[i], message, left[i], MSG_DONTWAIT | MSG_NOSIGNAL | flags);
		if (n < 0 && errno == ENOBUFS && flags) { /* the limit of pages held, or of completions */
			fallbacks++;
			flags = 0;
			continue;
		}
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			fail("send");
		zerocopies += flags != 0;
		left[i] -= (size_t)n;
		if (left[i] > 0)
			return 0;
	}
	return 1;
}

static void completions(int fd) {
	char control[128];
	struct msghdr m = {.msg_control = control};
	for (;;) {
		m.msg_controllen = sizeof control;
		calls++;
		if (recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			return;
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		struct sock_extended_err *e = (struct sock_extended_err *)CMSG_DATA(c);
		if (e->ee_origin != SO_EE_ORIGIN_ZEROCOPY)
			fail("error queue");
		long n = (long)(e->ee_data - e->ee_info + 1);
		zerocopies -= n;
		if (e->ee_code & SO_EE_CODE_ZEROCOPY_COPIED)
			copied += (double)n;
	}
}

/* rest waits for room where it was missing, and for completions. */
static void rest(int waiting, int flags) {
	struct epoll_event events[EVENTS];
	while (waiting > 0 || zerocopies > 0) {
		calls++;
		int n = epoll_wait(epoll, events, EVENTS, -1);
		for (int k = 0; k < n; k++) {
			int i = (int)events[k].data.u64;
			if (events[k].events & EPOLLERR)
				completions(fds[i]);
			if (events[k].events & EPOLLOUT && push(i, flags)) {
				calls++;
				watch(epoll, EPOLL_CTL_MOD, fds[i], 0, (uint64_t)i);
				waiting--;
			}
		}
	}
}

static void by_send(size_t n, int flags) {
	int waiting = 0;
	for (int i = 0; i < N; i++) {
		left[i] = n;
		if (push(i, flags))
			continue;
		calls++;
		watch(epoll, EPOLL_CTL_MOD, fds[i], EPOLLOUT, (uint64_t)i);
		waiting++;
	}
	rest(waiting, flags);
}

static void by_iov(void) {
	int waiting = 0;
	struct iovec iov[GATHERED];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = GATHERED};
	for (int k = 0; k < GATHERED; k++)
		iov[k] = (struct iovec){message + (size_t)k * size, size};
	for (int i = 0; i < N; i++) {
		calls++;
		ssize_t n = sendmsg(fds[i], &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		left[i] = GATHERED * size - (n < 0 ? 0 : (size_t)n);
		if (left[i] == 0)
			continue;
		calls++;
		watch(epoll, EPOLL_CTL_MOD, fds[i], EPOLLOUT, (uint64_t)i);
		waiting++;
	}
	rest(waiting, 0);
}

static int by_ring(int variant) {
	struct io_uring_cqe cqe;
	int done = 0, notes = 0;
	for (int i = 0; i < N; i++) {
		struct io_uring_sqe *s = uring_next(&ring);
		s->opcode = variant == RING_ZEROCOPY ? IORING_OP_SEND_ZC : IORING_OP_SEND;
		s->fd = variant == RING ? fds[i] : i;
		s->flags = variant == RING ? 0 : IOSQE_FIXED_FILE;
		s->ioprio = variant == RING_ZEROCOPY ? IORING_RECVSEND_FIXED_BUF : 0;
		s->addr = (uint64_t)(uintptr_t)message;
		s->len = (uint32_t)size;
		s->msg_flags = MSG_WAITALL | MSG_NOSIGNAL; /* the kernel goes on by itself when there was too little room */
		if (i % BATCH == BATCH - 1)
			uring_enter(&ring, 0);
	}
	while (done < N || notes > 0) {
		if (!uring_reap(&ring, &cqe)) {
			uring_enter(&ring, 1);
			continue;
		}
		if (cqe.flags & IORING_CQE_F_NOTIF) {
			notes--;
			continue;
		}
		if (cqe.res != (int)size) {
			errno = cqe.res < 0 ? -cqe.res : EIO;
			return -1;
		}
		done++;
		notes += (cqe.flags & IORING_CQE_F_MORE) != 0;
	}
	return 0;
}

static int once(int variant) {
	switch (variant) {
	case SEND:
		by_send(size, 0);
		return 0;
	case GATHER_COPY:
		by_send(GATHERED * size, 0);
		return 0;
	case GATHER_IOV:
		by_iov();
		return 0;
	case ZEROCOPY:
		by_send(size, MSG_ZEROCOPY);
		return 0;
	}
	if (ring.fd < 0) {
		errno = -ring.fd;
		return -1;
	}
	return by_ring(variant);
}

static int turn(int variant, double *figures) {
	size_t per_call = variant == GATHER_COPY || variant == GATHER_IOV ? GATHERED : 1;
	double cpu = 0, deliveries = 0;
	calls = copied = fallbacks = ring.calls = 0;
	for (size_t done = 0; done < times; done += per_call) {
		double before = clock_of(CLOCK_PROCESS_CPUTIME_ID);
		if (once(variant) < 0)
			return -1;
		cpu += clock_of(CLOCK_PROCESS_CPUTIME_ID) - before;
		sent += (uint64_t)N * size * per_call;
		deliveries += N * (double)per_call;
		__atomic_store_n(expected, sent, __ATOMIC_RELEASE);
		if (asleep && write(bell[1], "", 1) != 1)
			fail("bell");
		while (__atomic_load_n(received, __ATOMIC_RELAXED) < sent)
			usleep(200);
	}
	figures[0] = cpu / deliveries / 1e3;
	figures[1] = (calls + ring.calls) / deliveries;
	figures[2] = copied / deliveries;
	figures[3] = fallbacks / deliveries;
	return 0;
}

static void open_ring(void) {
	if (uring_open(&ring, BATCH) < 0) {
		ring.fd = -errno;
		return;
	}
	struct iovec whole = {message, size};
	if (uring_register(&ring, IORING_REGISTER_FILES, fds, N) < 0 || uring_register(&ring, IORING_REGISTER_BUFFERS, &whole, 1) < 0)
		fail("register");
}

/* measure is for a process of its own for each size, since buffers of the kernel remember what has gone through them. */
static void measure(size_t bytes, size_t messages, int not_woken) {
	char title[96];
	struct sockaddr_in a = {0};
	int on = 1, listener = listen_on(&a, 0);
	asleep = not_woken;
	if (pipe(bell) < 0)
		fail("pipe");
	if (other_side() == 0) {
		close(bell[1]);
		read_all(&a);
	}
	size = bytes;
	times = messages;
	message = mmap(NULL, size * GATHERED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	epoll = epoll_create1(0);
	for (int i = 0; i < N; i++) {
		fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		at_once(fds[i], 1);
		if (setsockopt(fds[i], SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) < 0)
			fail("SO_ZEROCOPY");
		watch(epoll, EPOLL_CTL_ADD, fds[i], 0, (uint64_t)i);
	}
	open_ring();
	snprintf(title, sizeof title, "One message of %zu B to %d connections%s", size, N, asleep ? ", readers not woken" : "");
	struct experiment e = {title,
	                       {"us a delivery", "calls each", "copied after", "no zerocopy", NULL},
	                       {"send, each message and connection", "send, 8 messages copied together", "sendmsg, 8 messages gathered",
	                        "send, MSG_ZEROCOPY", "io_uring, 256 sends a call", "io_uring, registered files",
	                        "io_uring, SEND_ZC, registered buffer", NULL},
	                       turn};
	take_turns(&e);
	exit(0);
}

int main(void) {
	static const struct {
		size_t bytes, messages;
		int asleep;
	} works[] = {{400, 16, 0}, {400, 16, 1}, {16 << 10, 8, 0}, {256 << 10, 1, 0}};
	received = shared(2 * sizeof *received);
	expected = received + 1;
	for (int i = 0; i < 4; i++) {
		*received = *expected = 0;
		if (other_side() == 0)
			measure(works[i].bytes, works[i].messages, works[i].asleep);
		wait(NULL);
	}
}
