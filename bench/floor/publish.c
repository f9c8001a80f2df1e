/*
 * The floor for publishes: a bare loop that writes each message to each minion with write(2).
 *
 *   publish LISTEN_PORT MASTER_PORT      both on 127.0.0.1
 *
 * It does what cannot be left out and nothing else: it reads whole messages from the master and writes them, one system
 * call a message and minion, on sockets that block. Of minions it reads one subscription, which is passed on to the master:
 * to everything, or to a topic that nobody else has, which is found in a table. It knows no limits, and not who is slow. A
 * relay that gathers messages can be below it.
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
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_MINIONS = 65536, BUFFER = 4 << 20, MORE = 1, LONG = 2, COMMAND = 4, GREETING = 64, TOPIC = 56 };

/* Who listens to a topic: half of the table is empty. */
struct topic {
	uint32_t size; /* 0: nobody */
	int fd;
	unsigned char bytes[TOPIC];
};

static int minions[MAX_MINIONS]; /* that listen to everything */
static int count;
static struct topic topics[2 * MAX_MINIONS];
static int topic_count;
static int epoll, master;
static unsigned char buffer[BUFFER];

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static struct sockaddr_in loopback(const char *port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static void at_once(int fd) {
	int on = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int write_all(int fd, const unsigned char *p, size_t n) {
	while (n > 0) {
		ssize_t w = write(fd, p, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -1;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

/* hello writes a greeting of ZMTP 3.0, mechanism NULL, and READY (RFC 23). */
static int hello(int fd, const char *type) {
	unsigned char out[GREETING + 64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
	unsigned char *p = out + GREETING;
	size_t len = strlen(type);
	*p++ = COMMAND;
	*p++ = (unsigned char)(6 + 12 + 4 + len);
	memcpy(p, "\5READY\13Socket-Type\0\0\0", 21);
	p += 21;
	*p++ = (unsigned char)len;
	memcpy(p, type, len);
	return write_all(fd, out, (size_t)(p + len - out));
}

static int listen_on(const char *port) {
	struct sockaddr_in a = loopback(port);
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 4096) < 0)
		fail("listen");
	return fd;
}

/* subscribe connects to the master, greets and asks for everything. */
static int subscribe(const char *port) {
	static const unsigned char everything[] = {0, 1, 1};
	struct sockaddr_in a = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
		fail("connect to the master");
	at_once(fd);
	if (hello(fd, "SUB") < 0 || recv(fd, buffer, GREETING, MSG_WAITALL) != GREETING)
		fail("greeting of the master");
	if (write_all(fd, everything, sizeof everything) < 0)
		fail("subscribe");
	return fd;
}

static void await(int fd, uint32_t events) {
	struct epoll_event e = {.events = events, .data.fd = fd};
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0)
		fail("epoll");
}

static void accept_all(int listener) {
	int fd;
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		at_once(fd);
		if (hello(fd, "PUB") < 0)
			close(fd);
		else
			await(fd, EPOLLIN | EPOLLET); /* for its subscription, looked at when more of it comes */
	}
}

/* place is where a topic is, or would be. */
static struct topic *place(const unsigned char *p, size_t n) {
	uint64_t hash = 14695981039346656037u; /* FNV-1a */
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ p[i]) * 1099511628211u;
	for (size_t i = hash % (2 * MAX_MINIONS);; i = (i + 1) % (2 * MAX_MINIONS))
		if (topics[i].size == 0 || (topics[i].size == n && memcmp(topics[i].bytes, p, n) == 0))
			return &topics[i];
}

/* welcome reads what a minion has to say: greeting, READY, and a message of ZMTP 3.0 that subscribes. It is called whenever
 * more of that has come, and takes it when it is all there. */
static void welcome(int fd) {
	unsigned char p[512];
	ssize_t n = recv(fd, p, sizeof p, MSG_PEEK);
	size_t at = GREETING; /* of READY, and then of the subscription: headers of two bytes */
	if (n > GREETING + 1)
		at += 2 + (size_t)p[GREETING + 1];
	if (at == GREETING || (size_t)n < at + 3 || (size_t)n < at + 2 + p[at + 1])
		return;
	size_t size = p[at + 1] - 1u;
	epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	recv(fd, p, sizeof p, 0);
	if (size == 0 && count < MAX_MINIONS)
		minions[count++] = fd;
	else if (size > 0 && size <= TOPIC && topic_count < MAX_MINIONS) {
		struct topic *t = place(p + at + 3, size);
		topic_count += t->size == 0;
		t->size = (uint32_t)size;
		t->fd = fd;
		memcpy(t->bytes, p + at + 3, size);
		write_all(master, p + at, size + 3);
	} else
		close(fd);
}

static void publish(const unsigned char *message, size_t n) {
	if (topic_count > 0 && !(message[0] & LONG)) {
		struct topic *t = place(message + 2, message[1]);
		if (t->size > 0 && write_all(t->fd, message, n) < 0)
			t->size = 0; /* it has gone; whoever is behind it in the table is lost, too */
	}
	for (int i = 0; i < count; i++)
		if (write_all(minions[i], message, n) < 0) {
			close(minions[i]);
			minions[i--] = minions[--count];
		}
}

/* frame returns the length of the frame at p with its header, 0 while it is not whole. */
static size_t frame(const unsigned char *p, size_t have) {
	uint64_t size = 0;
	size_t header = have > 0 && (p[0] & LONG) ? 9 : 2;
	if (have < header)
		return 0;
	for (size_t i = 1; i < header; i++)
		size = size << 8 | p[i];
	return size <= have - header ? header + size : 0;
}

/* relay publishes the whole messages at the beginning of the buffer and returns how many bytes are left. */
static size_t relay(size_t have) {
	size_t done = 0, end = 0, n;
	while ((n = frame(buffer + end, have - end)) > 0) {
		unsigned char flags = buffer[end];
		end += n;
		if (flags & MORE)
			continue;
		if (!(flags & COMMAND)) /* the stand-in master sends none inside a message */
			publish(buffer + done, end - done);
		done = end;
	}
	memmove(buffer, buffer + done, have - done);
	return have - done;
}

int main(int argc, char **argv) {
	if (argc != 3) {
		fprintf(stderr, "usage: publish LISTEN_PORT MASTER_PORT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
		fail("epoll");
	int listener = listen_on(argv[1]);
	master = subscribe(argv[2]);
	await(listener, EPOLLIN);
	await(master, EPOLLIN);
	struct epoll_event events[256];
	for (size_t have = 0;;) {
		int n = epoll_wait(epoll, events, 256, -1);
		if (n < 0 && errno != EINTR)
			fail("epoll");
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == listener)
				accept_all(listener);
			else if (fd != master)
				welcome(fd);
			else {
				ssize_t got = read(master, buffer + have, BUFFER - have);
				if (got <= 0)
					return 0;
				have = relay(have + (size_t)got);
			}
		}
	}
}
