/* runtime/base/options.c: the options. */
#include "runtime/base/options.h"

#include "unit.h"

static const char *defaults = "";

const char *__isan_default_options(void);
const char *
__isan_default_options(void)
{
    return defaults;
}

static void
parse(const char *text)
{
    setenv("ISAN_OPTIONS", text, 1);
    isan__options_init();
}

TEST(without_any_the_defaults_hold)
{
    unsetenv("ISAN_OPTIONS");
    isan__options_init();
    EXPECT_EQ(isan__options.exitcode, 86);
    EXPECT_EQ(isan__options.quarantine, 32);
    EXPECT_EQ(isan__options.origin, ISAN__ORIGIN_python);
    EXPECT_EQ(isan__options.statics, ISAN__STATICS_look);
    EXPECT(isan__options.leaks && !isan__options.verify);
    EXPECT_STR(isan__options.log_path, "");
}

TEST(each_type_of_option_takes_its_values)
{
    parse("leaks=0:verify=1:quarantine=65536:origin=native:log_path=/a=b c");
    EXPECT(!isan__options.leaks && isan__options.verify);
    EXPECT_EQ(isan__options.quarantine, 65536);
    EXPECT_EQ(isan__options.origin, ISAN__ORIGIN_native);
    EXPECT_STR(isan__options.log_path, "/a=b c");
}

TEST(the_last_value_counts_and_empty_ones_between_colons_do_not)
{
    parse(":::quarantine=1::quarantine=2:");
    EXPECT_EQ(isan__options.quarantine, 2);
    parse("log_path=x:log_path=");
    EXPECT_STR(isan__options.log_path, "");
}

TEST(the_environment_comes_after_the_program)
{
    defaults = "quarantine=5:exitcode=7";
    parse("quarantine=6");
    EXPECT_EQ(isan__options.quarantine, 6);
    EXPECT_EQ(isan__options.exitcode, 7);
}

TEST(bad_numbers_end_the_process)
{
    EXPECT_DEATH(parse("quarantine=65537"), "quarantine=65537: give a number from 0 to 65536");
    EXPECT_DEATH(parse("quarantine=-1"), "give a number");
    EXPECT_DEATH(parse("quarantine="), "give a number");
    EXPECT_DEATH(parse("quarantine=1x"), "give a number");
    EXPECT_DEATH(parse("quarantine=99999999999999999999"), "give a number");
    EXPECT_DEATH(parse("slots=3"), "from 4 to 16380");
    EXPECT_DEATH(parse("leaks=2"), "from 0 to 1");
    EXPECT_DEATH(parse("leaks=yes"), "give a number");
    /* The value ends at the colon, not at the end of the text. */
    EXPECT_DEATH(parse("quarantine=:1"), "quarantine=: give a number");
}

TEST(bad_choices_end_the_process)
{
    EXPECT_DEATH(parse("origin=all"), "origin=all: give one of none|python|native");
    EXPECT_DEATH(parse("origin=pytho"), "give one of");
    EXPECT_DEATH(parse("origin=none|python"), "give one of");
    EXPECT_DEATH(parse("origin="), "give one of");
}

TEST(bad_names_end_the_process)
{
    EXPECT_DEATH(parse("leak=1"), "there is no option \"leak\"");
    EXPECT_DEATH(parse("leakss=1"), "there is no option \"leakss\"");
    EXPECT_DEATH(parse("=1"), "there is no option \"\"");
    EXPECT_DEATH(parse("leaks"), "write leaks=VALUE");
}

TEST(the_origin_of_a_bad_option_is_named)
{
    defaults = "leaks=7";
    EXPECT_DEATH(parse(""), "isan: __isan_default_options(): leaks=7");
    defaults = "";
    EXPECT_DEATH(parse("leaks=7"), "isan: ISAN_OPTIONS: leaks=7");
}

TEST(a_text_that_has_no_room_ends_the_process)
{
    char text[2048] = "log_path=";
    memset(text + 9, 'x', 1023);
    parse(text);
    EXPECT_EQ(strlen(isan__options.log_path), 1023);
    text[9 + 1023] = 'x';
    EXPECT_DEATH(parse(text), "the value is longer than 1023 bytes");
}

TEST(help_lists_all_options_and_ends_the_process)
{
    char said[16384];
    size_t n = 0;
    ssize_t more;
    int ends[2], status;
    EXPECT_EQ(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        parse("help=1");
        _exit(9);
    }
    close(ends[1]);
    while (n < sizeof said - 1 && (more = read(ends[0], said + n, sizeof said - 1 - n)) > 0) {
        n += (size_t)more;
    }
    said[n] = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT(strstr(said, "origin=none|python|native\n") != NULL);
    EXPECT(strstr(said, "(default: python)") != NULL);
    EXPECT(strstr(said, "quarantine=0..65536\n") != NULL);
    EXPECT(strstr(said, "leaks=0|1\n") != NULL);
    EXPECT(strstr(said, "log_path=TEXT\n") != NULL);
}
