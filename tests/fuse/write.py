# Changes a directory in every way that a program can, and prints what it sees. Run on a file system of the kernel and on a
# mount, it must print the same. The first word is the directory, the second `root` for what only root may.
import ctypes, errno, mmap, os, stat, subprocess, sys

os.chdir(sys.argv[1])
root = sys.argv[2:] == ["root"]
libc = ctypes.CDLL(None, use_errno=True)
AT = -100


def show(what, *values):
    print(what, *values, flush=True)


def fails(what, call, *words, **named):
    try:
        show(what, "ok", call(*words, **named))
    except OSError as error:
        show(what, errno.errorcode[error.errno])


def called(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def rename(a, b, flags):
    return called(libc.renameat2(AT, a.encode(), AT, b.encode(), flags))


def fallocate(fd, mode, at, size):
    return called(libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(size)))


def write(name, data, flags=os.O_TRUNC):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    os.write(fd, data)
    os.close(fd)


def read(name):
    with open(name, "rb") as file:
        return file.read()


def mode(name):
    found = os.lstat(name)
    return oct(found.st_mode), found.st_nlink, found.st_size if not stat.S_ISDIR(found.st_mode) else "-"


os.umask(0o022)

# Names
os.mkdir("d")
write("f", b"hello")
show("new", mode("f"), mode("d"), os.stat("f").st_uid == os.stat("d").st_uid == (0 if root else os.getuid()))
os.link("f", "d/g")
show("link", mode("f"), os.path.samefile("f", "d/g"), sorted(os.listdir("d")))
fails("link to a directory", os.link, "d", "e")
fails("link over a name", os.link, "f", "d/g")
os.symlink("../f", "d/s")
show("symlink", os.readlink("d/s"), mode("d/s"), read("d/s"))
os.mkfifo("fifo", 0o666)
show("fifo", mode("fifo"))
fails("mkdir over a file", os.mkdir, "f")
fails("a long name", os.mkdir, "n" * 256)
os.mkdir("n" * 255)
os.rmdir("n" * 255)
fails("rmdir of a full one", os.rmdir, "d")
fails("rmdir of a file", os.rmdir, "f")
fails("unlink of a directory", os.unlink, "d")
fails("unlink of nothing", os.unlink, "none")
fails("exclusive", os.open, "f", os.O_CREAT | os.O_EXCL)
os.mkdir("d/in")
show("links of a directory", os.stat("d").st_nlink)
for flags in (0, 1, 2):
    write("a", b"a")
    write("b", b"b")
    fails("rename %d" % flags, rename, "a", "b", flags)
    show("after", [(name, read(name)) for name in ("a", "b") if os.path.exists(name)])
fails("rename into itself", os.rename, "d", "d/in/d")
fails("rename over a full one", os.rename, "d/in", "d")
fails("a file over a directory", os.rename, "f", "d/in")
fails("a directory over a file", os.rename, "d/in", "f")
fails("exchange with nothing", rename, "f", "none", 2)
rename("d/in", "f", 2)
show("exchanged", mode("f")[0], read("d/in"), os.stat(".").st_nlink, os.stat("d").st_nlink)
rename("d/in", "f", 2)
os.mkdir("e")
os.rename("e", "d/in")
show("over an empty one", os.listdir("d/in"))
os.rename("f", "d/g")
show("to its other name", mode("f"), mode("d/g"))

# Content
fd = os.open("gone", os.O_RDWR | os.O_CREAT, 0o600)
os.write(fd, b"still here")
os.unlink("gone")
os.pwrite(fd, b"STILL", 0)
os.fsync(fd)
show("unlinked", os.pread(fd, 20, 0), os.fstat(fd).st_nlink, [name for name in os.listdir(".") if "gone" in name])
os.ftruncate(fd, 4)
show("shorter", os.pread(fd, 20, 0))
os.close(fd)
removed = os.open("d/in", os.O_RDONLY)
os.rmdir("d/in")
fails("in a directory that is gone", os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=removed)
os.close(removed)
write("log", b"one")
a, b = (os.open("log", os.O_WRONLY | os.O_APPEND) for _ in "ab")
os.write(a, b"two")
os.write(b, b"three")
os.close(a)
os.close(b)
show("append", read("log"))
fd = os.open("map", os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, 3 * 4096)
with mmap.mmap(fd, 3 * 4096) as map:
    map[4090:4100] = b"0123456789"
    map.flush()
os.close(fd)
show("map", read("map")[4088:4102], mode("map"))
fd = os.open("sparse", os.O_RDWR | os.O_CREAT, 0o644)
os.pwrite(fd, b"end", 100_000_000)
show("sparse", os.pread(fd, 5, 99_999_999), os.pread(fd, 3, 5000), os.fstat(fd).st_size, os.lseek(fd, 0, os.SEEK_END))
os.fsync(fd)
show("takes little", os.fstat(fd).st_blocks < 1000)
os.ftruncate(fd, 99_999_999)
os.ftruncate(fd, 100_000_010)
show("nothing comes back", os.pread(fd, 20, 99_999_995))
os.close(fd)
write("w", b"x" * 10_000)
fd = os.open("w", os.O_WRONLY)
os.pwrite(fd, b"yy", 5000)
os.close(fd)
show("read for a write", read("w").count(b"x"), read("w").index(b"yy"))
write("t", b"0123456789")
os.truncate("t", 5)
os.truncate("t", 12)
show("truncate", read("t"))
write("t", b"new")
show("O_TRUNC", read("t"))
fails("write to what is open for reading", os.write, os.open("t", os.O_RDONLY), b"x")
fd = os.open("data", os.O_RDWR | os.O_CREAT, 0o644)
os.write(fd, b"d" * 5000)
show("data that is not on the disk yet", os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 0, os.SEEK_HOLE))
copy = os.open("copy", os.O_RDWR | os.O_CREAT, 0o644)
show("copied", os.copy_file_range(fd, copy, 4000, 500, 100), os.fstat(copy).st_size, os.pread(copy, 3, 99))
fallocate(fd, 0, 0, 20_000)
show("allocated", os.fstat(fd).st_size)
fallocate(fd, 1, 0, 40_000)
show("behind the end", os.fstat(fd).st_size)
fallocate(fd, 3, 100, 4000)
show("punched", os.pread(fd, 5000, 0).count(b"d"))
fallocate(fd, 0x10, 4500, 100)
show("zeroed", os.pread(fd, 5000, 0).count(b"d"))
fails("keeps the size", fallocate, fd, 2, 0, 10)
os.close(fd)

# Attributes
os.utime("t", ns=(1_234_567_890_123_456_789, -1_500_000_000))
found = os.stat("t")
show("times", found.st_atime_ns, found.st_mtime_ns)
before = os.stat("t").st_mtime_ns
fd = os.open("t", os.O_WRONLY)
os.write(fd, b"X")
os.close(fd)
show("a write changes them", os.stat("t").st_mtime_ns > before, os.stat("t").st_atime_ns == found.st_atime_ns)
write("t2", b"1")
os.utime("t2", ns=(5, 7))
show("set after a write", os.stat("t2").st_mtime_ns)
old = os.stat("d").st_mtime_ns
os.mkdir("d/new")
show("a directory's", os.stat("d").st_mtime_ns > old, os.stat("d").st_ctime_ns > old)
os.chmod("t", 0o4751)
show("chmod", mode("t"))
fails("xattr", os.setxattr, "t", "user.a", b"1", os.XATTR_CREATE)
fails("xattr again", os.setxattr, "t", "user.a", b"2", os.XATTR_CREATE)
fails("xattr replaced", os.setxattr, "t", "user.a", b"33", os.XATTR_REPLACE)
fails("none to replace", os.setxattr, "t", "user.b", b"2", os.XATTR_REPLACE)
fails("none to remove", os.removexattr, "t", "user.b")
show("xattrs", [name for name in os.listxattr("t") if name.startswith("user.")], os.getxattr("t", "user.a"))
os.removexattr("t", "user.a")
fails("removed", os.getxattr, "t", "user.a")
os.mkdir("list")
subprocess.run(["setfacl", "-d", "-m", "u:7:rwx,g::rx,o::-", "list"], check=True)
os.umask(0o077)
os.mkdir("list/d")
write("list/f", b"")
os.mkdir("plain")
for name in ("list/d", "list/f", "plain"):
    text = subprocess.run(["getfacl", "-cpn", name], stdout=subprocess.PIPE, check=True).stdout
    show("inherited", name, mode(name)[0], text)
os.chmod("list/f", 0o640)
show("mask", subprocess.run(["getfacl", "-cpn", "list/f"], stdout=subprocess.PIPE, check=True).stdout)
os.umask(0o022)

if root:
    os.chown("t", 5, 6)
    os.chmod("t", 0o6755)
    os.chown("t", 7, -1)
    show("chown", os.stat("t").st_uid, os.stat("t").st_gid, mode("t"))
    os.mknod("null", 0o20644, os.makedev(1, 3))
    show("mknod", mode("null"), os.stat("null").st_rdev)
    os.mkdir("group")
    os.chown("group", 0, 50)
    os.chmod("group", 0o2775)
    os.mkdir("group/d")
    write("group/f", b"")
    show("group", os.stat("group/d").st_gid, os.stat("group/f").st_gid, mode("group/d"))
    write("cap", b"x")
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr("cap", "security.capability", value)
    os.sync()
    show("capability", os.getxattr("cap", "security.capability") == value)
    write("cap", b"y", os.O_APPEND)
    fd = os.open("cap", os.O_RDONLY)
    os.fsync(fd)
    fails("capability after a write", os.getxattr, "cap", "security.capability")

# Many
os.mkdir("many")
for n in range(2000):
    write("many/%04d" % n, b"%d" % n)
seen = 0
for entry in os.scandir("many"):
    os.unlink(entry.path)
    seen += 1
show("removed while listing", seen, os.listdir("many"))
os.rmdir("many")
show("left", sorted(os.listdir(".")))
