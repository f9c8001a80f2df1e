/*
 * Two small pieces to send, a header of 9 B and a body of 400 B: together or each by itself, at once or held back?
 *
 * 32 connections to a process of its own, which returns a byte when it has both pieces. This one sends both pieces on
 * each connection and then waits for all the bytes. Measured is the processor time of sending, and how long a round
 * takes.
 */
#include "turns.h"

enum { N = 32, ROUNDS = 40, HEADER = 9, BODY = 400, EVENTS = 64 };
enum { TOGETHER, COPIED, APART, MORE, CORK, NAGLE_TOGETHER, NAGLE };

static int fds[N];
static char buffer[4096];

static void acknowledge(const struct sockaddr_in *a) {
	struct epoll_event events[EVENTS];
	static int fd[N], got[N];
	int ep = epoll_create1(0);
	for (int i = 0; i < N; i++) {
		fd[i] = connect_to(a);
		watch(ep, EPOLL_CTL_ADD, fd[i], EPOLLIN, (uint64_t)i);
	}
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, -1);
		for (int k = 0; k < n; k++) {
			int i = (int)events[k].data.u64;
			ssize_t r = recv(fd[i], buffer, sizeof buffer, MSG_DONTWAIT);
			if (r == 0)
				_exit(0);
			got[i] += r > 0 ? (int)r : 0;
			if (got[i] < HEADER + BODY)
				continue;
			got[i] = 0;
			send(fd[i], buffer, 1, 0);
		}
	}
}

static void cork(int fd, int on) {
	setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

static void send_pieces(int fd, int variant) {
	struct iovec iov[] = {{buffer, HEADER}, {buffer, BODY}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
	switch (variant) {
	case TOGETHER:
	case NAGLE_TOGETHER:
		sendmsg(fd, &m, MSG_NOSIGNAL);
		return;
	case COPIED:
		memmove(buffer + HEADER, buffer + 1024, BODY);
		send(fd, buffer, HEADER + BODY, MSG_NOSIGNAL);
		return;
	case CORK:
		cork(fd, 1);
	}
	send(fd, buffer, HEADER, MSG_NOSIGNAL | (variant == MORE ? MSG_MORE : 0));
	send(fd, buffer, BODY, MSG_NOSIGNAL);
	if (variant == CORK)
		cork(fd, 0);
}

static int turn(int variant, double *figures) {
	double cpu = 0, wall = clock_of(CLOCK_MONOTONIC);
	for (int i = 0; i < N; i++)
		at_once(fds[i], variant != NAGLE && variant != NAGLE_TOGETHER);
	for (int r = 0; r < ROUNDS; r++) {
		double before = clock_of(CLOCK_THREAD_CPUTIME_ID);
		for (int i = 0; i < N; i++)
			send_pieces(fds[i], variant);
		cpu += clock_of(CLOCK_THREAD_CPUTIME_ID) - before;
		for (int i = 0; i < N; i++)
			if (recv(fds[i], buffer, 1, 0) != 1)
				fail("acknowledgement");
	}
	figures[0] = cpu / ROUNDS / N / 1e3;
	figures[1] = (clock_of(CLOCK_MONOTONIC) - wall) / ROUNDS / 1e6;
	return 0;
}

int main(void) {
	struct sockaddr_in a = {0};
	int listener = listen_on(&a, 0);
	if (other_side() == 0)
		acknowledge(&a);
	for (int i = 0; i < N; i++)
		fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	struct experiment e = {"Two small pieces to send",
	                       {"us a pair", "ms a round", NULL},
	                       {"TCP_NODELAY, one sendmsg", "TCP_NODELAY, copied together, one send", "TCP_NODELAY, two sends",
	                        "TCP_NODELAY, the first with MSG_MORE", "TCP_NODELAY, between TCP_CORK", "Nagle, one sendmsg",
	                        "Nagle, two sends", NULL},
	                       turn};
	take_turns(&e);
}
