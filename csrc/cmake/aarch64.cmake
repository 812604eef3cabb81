# 64-bit ARM from another Linux: g++-aarch64-linux-gnu builds, qemu-user runs (Debian's names).
#
#   cmake -B build/aarch64 -DCMAKE_TOOLCHAIN_FILE=csrc/cmake/aarch64.cmake -DSACCADE_PYTHON=OFF -DSACCADE_TESTS=ON
#   cmake --build build/aarch64 && ctest --test-dir build/aarch64 --output-on-failure
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)  # so that the emulator needs no system root
find_program(SACCADE_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(SACCADE_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${SACCADE_QEMU})
endif()
