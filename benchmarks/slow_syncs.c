/* A disk that makes only so many syncs a second, one after the other: for LD_PRELOAD. Nothing is really synced. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER;
static long syncs;

static int slow(void)
{
    const char *a_second = getenv("SYNCS_A_SECOND");
    struct timespec rest = {0, a_second ? (long)(1e9 / atof(a_second)) : 0};

    prctl(PR_SET_TIMERSLACK, 1UL); /* or each sync takes 0.05 ms longer than it should */
    pthread_mutex_lock(&disk);
    syncs++;
    nanosleep(&rest, NULL);
    pthread_mutex_unlock(&disk);
    return 0;
}

int fsync(int file)
{
    (void)file;
    return slow();
}

int fdatasync(int file)
{
    (void)file;
    return slow();
}

long syncs_so_far(void)
{
    return syncs;
}
