/*
 * What all experiments share: variants of the same work, in turn, and a table of medians.
 *
 * In a round each variant has one turn and the next round begins with the next variant, so that what else the machine
 * does disturbs all of them alike. A ratio is the median of the ratios of each round, to the first variant. TURNS=n in
 * the environment says how many rounds there are, 9 without it; one more in front does not count.
 *
 * Processor time is that of the side that is measured, user and system; the other side is a process of its own. On
 * loopback the kernel's work for receiving is mostly done in the context of who sends, and counts there.
 */
#pragma once
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
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_VARIANTS = 16, MAX_FIGURES = 6, MAX_ROUNDS = 99 };

/* An experiment. turn does the work once the way variant says and sets figures; -1 and errno: this kernel cannot. */
struct experiment {
	const char *title;
	const char *figures[MAX_FIGURES + 1]; /* the first is what ratios are of */
	const char *variants[MAX_VARIANTS + 1];
	int (*turn)(int variant, double *figures);
};

__attribute__((unused)) static void fail(const char *what) {
	perror(what);
	exit(1);
}

/* clock_of returns a clock in nanoseconds. */
__attribute__((unused)) static double clock_of(clockid_t clock) {
	struct timespec t;
	clock_gettime(clock, &t);
	return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *v, int n) {
	qsort(v, (size_t)n, sizeof *v, by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

__attribute__((unused)) static void take_turns(const struct experiment *e) {
	static double all[MAX_VARIANTS][MAX_FIGURES][MAX_ROUNDS];
	int impossible[MAX_VARIANTS] = {0}, n = 0, rounds = getenv("TURNS") ? atoi(getenv("TURNS")) : 9;
	if (rounds < 1 || rounds > MAX_ROUNDS)
		rounds = 9;
	while (e->variants[n])
		n++;
	for (int r = -1; r < rounds; r++)
		for (int i = 0; i < n; i++) {
			int v = (i + r + 1) % n;
			double figures[MAX_FIGURES] = {0};
			if (impossible[v])
				continue;
			if (e->turn(v, figures) < 0)
				impossible[v] = errno;
			for (int f = 0; f < MAX_FIGURES && r >= 0; f++)
				all[v][f][r] = figures[f];
		}
	printf("\n%s\n%-44s %6s", e->title, "", "ratio");
	for (int f = 0; e->figures[f]; f++)
		printf(" %14s", e->figures[f]);
	printf("\n");
	double ratios[MAX_VARIANTS];
	for (int v = 0; v < n; v++) { /* before medians put the rounds out of order */
		double each[MAX_ROUNDS];
		for (int r = 0; r < rounds; r++)
			each[r] = all[v][0][r] / all[0][0][r];
		ratios[v] = median(each, rounds);
	}
	for (int v = 0; v < n; v++) {
		if (impossible[v]) {
			printf("%-44s not possible: %s\n", e->variants[v], strerror(impossible[v]));
			continue;
		}
		printf("%-44s %6.2f", e->variants[v], ratios[v]);
		for (int f = 0; e->figures[f]; f++)
			printf(" %14.2f", median(all[v][f], rounds));
		printf("\n");
	}
	fflush(stdout);
}

/* listen_on opens a port of loopback that the kernel chooses when a->sin_port is 0, and puts it there. */
__attribute__((unused)) static int listen_on(struct sockaddr_in *a, int reuseport) {
	socklen_t size = sizeof *a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (reuseport)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuseport, sizeof reuseport);
	if (bind(fd, (struct sockaddr *)a, size) < 0 || listen(fd, 4096) < 0 || getsockname(fd, (struct sockaddr *)a, &size) < 0)
		fail("listen");
	return fd;
}

__attribute__((unused)) static void at_once(int fd, int on) {
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* connect_to blocks, which loopback makes short. */
__attribute__((unused)) static int connect_to(const struct sockaddr_in *a) {
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)a, sizeof *a) < 0)
		fail("connect");
	at_once(fd, 1);
	return fd;
}

/* other_side starts a process that ends with this one; 0 in it. */
__attribute__((unused)) static pid_t other_side(void) {
	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* shared returns memory that both sides see. */
__attribute__((unused)) static void *shared(size_t n) {
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		fail("mmap");
	return p;
}

__attribute__((unused)) static void watch(int epoll, int op, int fd, uint32_t events, uint64_t data) {
	struct epoll_event e = {.events = events, .data.u64 = data};
	if (epoll_ctl(epoll, op, fd, &e) < 0)
		fail("epoll_ctl");
}
