# Code for GPUs, as files that csrc/launch loads at run time: nothing of CUDA is linked, and without a compiler for it
# everything else builds. Installed as saccade/cubins, where saccade.kernels.cubins looks.
set(SACCADE_CUDA AUTO CACHE STRING "CUDA C++ kernels: AUTO, ON or OFF")
set(SACCADE_TRITON AUTO CACHE STRING "Triton kernels in the wheel: AUTO, ON or OFF")
set(CUBINS ${CMAKE_CURRENT_BINARY_DIR}/cubins)

if(NOT SACCADE_CUDA STREQUAL OFF)
  include(CheckLanguage)
  check_language(CUDA)
endif()
if(CMAKE_CUDA_COMPILER)
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-code OUTPUT_VARIABLE KNOWN)
  set(CODE -gencode arch=compute_80,code=compute_80)
  foreach(arch 80 87 89 90 100 110 120)
    if(KNOWN MATCHES "sm_${arch}[^0-9]")
      list(APPEND CODE -gencode arch=compute_${arch},code=sm_${arch})
    else()
      message(STATUS "this CUDA compiler does not know sm_${arch}: it is left out")
    endif()
  endforeach()
  set(NVCC_FLAGS -std=c++17 -O3 --Werror all-warnings -Xcompiler -Wall,-Wextra)
  foreach(op nms mask_decode resize_normalize)
    add_custom_command(
      OUTPUT ${CUBINS}/${op}.fatbin
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CUBINS}
      COMMAND ${CMAKE_CUDA_COMPILER} -fatbin ${NVCC_FLAGS} ${CODE} -o ${CUBINS}/${op}.fatbin
              ${CMAKE_CURRENT_SOURCE_DIR}/csrc/${op}/${op}.cu
      DEPENDS csrc/${op}/${op}.cu
      VERBATIM)
    list(APPEND FATBINS ${CUBINS}/${op}.fatbin)
  endforeach()
  add_custom_target(saccade_cuda ALL DEPENDS ${FATBINS})
  install(FILES ${FATBINS} DESTINATION saccade/cubins)
elseif(SACCADE_CUDA STREQUAL ON)
  message(FATAL_ERROR "SACCADE_CUDA is ON and there is no CUDA compiler")
else()
  message(STATUS "no CUDA compiler: CUDA kernels are left out")
endif()

# An editable install would pay minutes for each change of a kernel; `saccade build-kernels` is for that.
if(SACCADE_TRITON STREQUAL ON OR (SACCADE_TRITON STREQUAL AUTO AND NOT "$ENV{SKBUILD_STATE}${SKBUILD_STATE}" MATCHES
                                                                       editable))
  execute_process(COMMAND ${Python_EXECUTABLE} -c "import triton" RESULT_VARIABLE NO_TRITON OUTPUT_QUIET ERROR_QUIET)
  if(NOT NO_TRITON)
    # The sources under the name that they are imported by.
    set(TREE ${CMAKE_CURRENT_BINARY_DIR}/tree)
    file(MAKE_DIRECTORY ${TREE}/saccade)
    foreach(part kernels runtime)
      file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR}/${part} ${TREE}/saccade/${part} SYMBOLIC)
    endforeach()
    file(GLOB TRITON_SOURCES CONFIGURE_DEPENDS kernels/*/triton.py)
    add_custom_command(
      OUTPUT ${CUBINS}/triton.stamp
      COMMAND ${CMAKE_COMMAND} -E env PYTHONPATH=${TREE} PYTHONDONTWRITEBYTECODE=1 ${Python_EXECUTABLE} -P -m
              saccade.kernels.aot --out ${CUBINS}/triton
      COMMAND ${CMAKE_COMMAND} -E touch ${CUBINS}/triton.stamp
      DEPENDS ${TRITON_SOURCES} kernels/aot.py
      VERBATIM)
    add_custom_target(saccade_triton ALL DEPENDS ${CUBINS}/triton.stamp)
    install(DIRECTORY ${CUBINS}/triton/ DESTINATION saccade/cubins)
  elseif(SACCADE_TRITON STREQUAL ON)
    message(FATAL_ERROR "SACCADE_TRITON is ON and ${Python_EXECUTABLE} cannot import triton")
  else()
    message(STATUS "no triton: cubins are left out, `saccade build-kernels` makes them")
  endif()
endif()
