/* SPDX-License-Identifier: GPL-2.0-or-later
 * moonphase [YYYY-MM-DD]: the mean age of the moon at noon (UTC) of a day, and what that phase is called. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#ifndef NAMES
#define NAMES "/usr/share/moonphase/names"
#endif
#ifndef VERSION
#define VERSION "unknown"
#endif

/* Mean length of a lunation, and one mean new moon: 2000-01-06 14:20 UTC. */
static const double lunation = 29.530588861;
static const double known_new_moon = 2451550.09765;

/* Julian day at noon of a day of the Gregorian calendar (integer arithmetic of Fliegel and van Flandern). */
static long julian_day(long year, long month, long day)
{
	long a = (month - 14) / 12;

	return day - 32075 + 1461 * (year + 4800 + a) / 4 + 367 * (month - 2 - a * 12) / 12 - 3 * ((year + 4900 + a) / 100) / 4;
}

static double age_at(long noon)
{
	double turns = ((double)noon - known_new_moon) / lunation;
	long whole = (long)turns;

	if (turns < (double)whole)
		whole--;
	return (turns - (double)whole) * lunation;
}

static int print_name(int phase)
{
	char line[80];
	FILE *names = fopen(NAMES, "r");
	int n;

	if (names == NULL) {
		fprintf(stderr, "moonphase: %s: %s\n", NAMES, strerror(errno));
		return 1;
	}
	for (n = 0; n <= phase; n++) {
		if (fgets(line, sizeof line, names) == NULL) {
			fprintf(stderr, "moonphase: %s has no line %d\n", NAMES, phase + 1);
			fclose(names);
			return 1;
		}
	}
	fclose(names);
	fputs(line, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	int year, month, day, end = 0;
	double age;

	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		puts("moonphase " VERSION);
		return 0;
	}
	if (argc == 2) {
		if (sscanf(argv[1], "%4d-%2d-%2d%n", &year, &month, &day, &end) != 3 || argv[1][end] != '\0' || month < 1 || month > 12 || day < 1 || day > 31 || year < 1583) {
			fputs("usage: moonphase [YYYY-MM-DD]\n", stderr);
			return 2;
		}
	} else {
		time_t now = time(NULL);
		struct tm *today = gmtime(&now);

		year = today->tm_year + 1900;
		month = today->tm_mon + 1;
		day = today->tm_mday;
	}
	age = age_at(julian_day(year, month, day));
	printf("%04d-%02d-%02d  day %4.1f of %.1f  ", year, month, day, age, lunation);
	return print_name((int)(age / lunation * 8 + 0.5) % 8);
}
