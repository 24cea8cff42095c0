# The far side of background commands where no agent of ours runs; see docs/explanation/markers.md.
# Perl, because it is on every Debian and Ubuntu, and tells an exit code from a signal.
use strict;
use warnings;
no warnings 'portable';
use Errno qw(EINTR EAGAIN EEXIST ENOENT ENOTEMPTY);
use Fcntl qw(:DEFAULT :flock :mode :seek);
use POSIX ();

my ($op, $root, @args) = @ARGV;
my ($BLOCK, $HEAD, $SEGMENT) = (65536, 4 * 65536, 16 * 65536 * 16);
my ($BASE, $SPEC, $STARTED, $STDOUT, $STDERR, $EXITED, $LOST, $PAD) = (1, 2, 3, 4, 5, 6, 7, 255);
# Seconds after which a supervisor looks whether its marker is still there.
my $LOOK = 10;
my $ARM = (POSIX::uname())[4] eq 'aarch64';
my %CALL = $ARM ? (clock => 113, prctl => 167, prlimit => 261)
                : (clock => 228, prctl => 157, prlimit => 302);
my @SIGNALS = qw(0 HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT
                 CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS);

# Small things.

sub clock_of { my $at = "\0" x 16; syscall($CALL{clock}, $_[0], $at); my ($s, $n) = unpack('qq', $at); $s + $n / 1e9 }
sub now { clock_of(0) }
sub uptime { clock_of(1) }
sub nap { select(undef, undef, undef, $_[0]) }
sub slurp { open(my $file, '<:raw', $_[0]) or return undef; local $/; my $text = <$file>; $text }
sub boot_id { my $id = slurp('/proc/sys/kernel/random/boot_id') // ''; chomp $id; $id }
sub signal_name { my $n = shift; $n < @SIGNALS ? "SIG$SIGNALS[$n]" : 'SIGRTMIN+' . ($n - 34) }

sub put_file {
    my ($path, $text) = @_;
    sysopen(my $file, "$path.new.$$", O_WRONLY | O_CREAT | O_TRUNC, 0600) or die "$path: $!\n";
    (syswrite($file, $text) // -1) == length $text or die "$path: $!\n";
    close $file;
    rename "$path.new.$$", $path or die "$path: $!\n";
}

sub base64 {
    my ($from, $to) = (shift, '');
    while ($from =~ /(.{1,45})/gs) { my $line = substr(pack('u', $1), 1); chop $line; $to .= $line }
    $to =~ tr|` -_|AA-Za-z0-9+/|;
    my $pads = (3 - length($from) % 3) % 3;
    substr($to, -$pads) = '=' x $pads if $pads;
    $to eq '' ? '-' : $to;
}

sub quoted {
    my $text = shift;
    $text =~ s/([^ !#-\[\]-~])/sprintf('\\u%04x', ord $1)/ge;
    qq("$text");
}

sub say_line { print join(' ', @_), "\n" }

# Logs: the records of hopx_async/protocol/records.py.

sub record { my ($kind, $payload) = @_; pack('CxxxVd<', $kind, 16 + length $payload, now()) . $payload }
sub base { record($BASE, pack('Q<3', @_)) }

sub segments {
    opendir(my $dir, $_[0]) or return ();
    sort { $a <=> $b } map { hex } grep { /^[0-9a-f]{16}$/ } readdir $dir;
}
sub segment { sprintf '%s/%016x', @_ }

# The end of the last whole record of a log: what lies behind is being written, or was torn.
sub end_of {
    my ($dir, $last) = @_;
    open(my $file, '<:raw', segment($dir, $last)) or return $last;
    my $size = -s $file;
    # A record begins at every boundary of a block, so the last block tells.
    my $from = $size - $size % $BLOCK;
    if ($last == 0) {
        sysseek($file, 44, SEEK_SET);
        sysread($file, my $head, 4);
        my $spec = 40 + (length($head // '') == 4 ? unpack('V', $head) : 0);
        $from = $spec if $from < $spec;
    }
    sysseek($file, $from, SEEK_SET);
    sysread($file, my $rest, $BLOCK) // return $last + $from;
    my $place = 0;
    while ($place < length $rest) {
        return $last + $size if ord(substr $rest, $place, 1) == $PAD;
        last if length($rest) - $place < 16;
        my $length = unpack('V', substr $rest, $place + 4, 4);
        last if $length < 16 || $length > length($rest) - $place;
        $place += $length;
    }
    return $last + $from + $place;
}

package Log;
# Appends; what does not fit on the disk waits, and its writer with it.

sub new {
    my ($class, $dir, $retention) = @_;
    my @segments = main::segments($dir);
    my $self = bless {dir => $dir, keep => $retention, start => $segments[-1], counts => [0, 0]}, $class;
    $self->{end} = main::end_of($dir, $segments[-1]);
    $self->open_file(0);
    truncate($self->{file}, $self->{end} - $self->{start});
    return $self;
}

sub open_file {
    my ($self, $create) = @_;
    my $path = main::segment($self->{dir}, $self->{start});
    until (sysopen($self->{file}, $path, main::O_WRONLY | ($create ? main::O_CREAT : 0), 0600)) {
        $self->wait_for_room;
    }
}

sub wait_for_room {
    my $self = shift;
    die "$self->{dir} is gone\n" if !-d $self->{dir};
    $self->{meanwhile}->() if $self->{meanwhile};
    main::nap(0.25);
}

sub write {
    my ($self, $bytes) = @_;
    my $done = 0;
    my $file = $self->{file};
    while ($done < length $bytes) {
        sysseek($file, $self->{end} - $self->{start} + $done, main::SEEK_SET);
        my $count = syswrite($file, $bytes, length($bytes) - $done, $done);
        if (defined $count) { $done += $count } else { $self->wait_for_room }
    }
    $self->{end} += $done;
}

sub pad {
    my ($self, $size) = @_;
    my $room = $BLOCK - $self->{end} % $BLOCK;
    $self->write(chr($PAD) x $room) if $size > $room;
    my $limit = $self->{start} ? $SEGMENT : $HEAD;
    return if $self->{last} || $self->{end} % $BLOCK || $self->{end} - $self->{start} < $limit;
    $self->{start} = $self->{end};
    $self->open_file(1);
    $self->write(main::base($self->{end}, @{$self->{counts}}));
    my @all = main::segments($self->{dir});
    while (@all > 2 && $self->{end} - $all[1] > $self->{keep}) {
        unlink main::segment($self->{dir}, splice(@all, 1, 1));
    }
}

sub append { my ($self, $record) = @_; $self->pad(length $record); $self->write($record) }

sub data {
    my ($self, $kind, $bytes) = @_;
    my $index = $kind == $STDOUT ? 0 : 1;
    my $taken = 0;
    while ($taken < length $bytes) {
        $self->pad(25);
        my $room = $BLOCK - $self->{end} % $BLOCK;
        my $piece = substr $bytes, $taken, $room - 24;
        $self->write(main::record($kind, pack('Q<', $self->{counts}[$index]) . $piece));
        $self->{counts}[$index] += length $piece;
        $taken += length $piece;
    }
}
