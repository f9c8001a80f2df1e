/*
 * The floor for requests: a bare forwarder on epoll, one connection to the master for each of a minion.
 *
 *   forward LISTEN_PORT MASTER_PORT      both on 127.0.0.1
 *
 * It copies what comes on one side to the other: a read and a write a message and direction. Writes block, which is right
 * only because both stand-ins always read. It bounds nothing and knows no messages.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 65536, BUFFER = 64 << 10, EVENTS = 512 };

static int other[MAX_FD]; /* the other side of a connection, 0: none */
static char buffer[BUFFER];
static int epoll;
static struct sockaddr_in master;

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static struct sockaddr_in loopback(const char *port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static void watch(int fd) {
	int on = 1;
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0)
		fail("epoll_ctl");
}

static void join(int minion) {
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || fd >= MAX_FD || minion >= MAX_FD || connect(fd, (struct sockaddr *)&master, sizeof master) < 0) {
		perror("connect to the master");
		close(minion);
		if (fd >= 0)
			close(fd);
		return;
	}
	other[fd] = minion;
	other[minion] = fd;
	watch(fd);
	watch(minion);
}

static void part(int fd) {
	int peer = other[fd];
	other[fd] = other[peer] = 0;
	close(fd);
	close(peer);
}

static void forward(int fd) {
	int peer = other[fd];
	if (peer == 0)
		return; /* closed earlier in this turn */
	ssize_t n = recv(fd, buffer, BUFFER, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		part(fd);
		return;
	}
	for (char *p = buffer; n > 0;) {
		ssize_t w = write(peer, p, (size_t)n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0) {
			part(fd);
			return;
		}
		p += w;
		n -= w;
	}
}

int main(int argc, char **argv) {
	if (argc != 3) {
		fprintf(stderr, "usage: forward LISTEN_PORT MASTER_PORT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	master = loopback(argv[2]);
	struct sockaddr_in a = loopback(argv[1]);
	int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 4096) < 0)
		fail("listen");
	watch(listener);
	for (struct epoll_event events[EVENTS];;) {
		int n = epoll_wait(epoll, events, EVENTS, -1);
		if (n < 0 && errno != EINTR)
			fail("epoll_wait");
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd, minion;
			if (fd != listener)
				forward(fd);
			else
				while ((minion = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
					join(minion);
		}
	}
}
